"""torch's optimizers with a run axis, so that many runs of one architecture take a step together.

Read `optimizer` first, then `stack` and `elementwise`.
"""

from dl_lab.vectorized.optimizers import elementwise, whole_parameter
from dl_lab.vectorized.optimizers.optimizer import StackedOptimizer, must_be_equal

__all__ = ["StackedOptimizer", "elementwise", "must_be_equal", "whole_parameter"]
