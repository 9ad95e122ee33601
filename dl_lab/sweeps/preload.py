"""What a process that trains the jobs of a sweep imports, in one go."""

import gc
import warnings

warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)  # a copy runs the command's module again
gc.set_threshold(50_000)  # at 700, a tenth of the time that imports take is spent looking for garbage among them

from dl_lab.core import devices as devices  # noqa: E402
from dl_lab.sweeps import vectorized_launcher as vectorized_launcher  # noqa: E402
