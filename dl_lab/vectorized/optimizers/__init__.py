"""torch's optimizers over a run axis, so that many runs of one architecture train as one: `stack` holds what a rule may
use, `elementwise` and `whole_parameter` the rules, `optimizer` what the loop calls.
"""

from dl_lab.vectorized.optimizers import elementwise, whole_parameter
from dl_lab.vectorized.optimizers.optimizer import StackedOptimizer, must_be_equal

__all__ = ["StackedOptimizer", "elementwise", "must_be_equal", "whole_parameter"]
