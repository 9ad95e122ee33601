"""The launchers and the sweeper, where Hydra finds them: it accepts only classes defined in this namespace."""

from dl_lab.sweeps import launchers, sweeper


class InTurnLauncher(launchers.InTurnLauncher):
    """hydra/launcher=in_turn"""


class ProcessesLauncher(launchers.ProcessesLauncher):
    """hydra/launcher=processes"""


class VectorizedLauncher(launchers.VectorizedLauncher):
    """hydra/launcher=vectorized"""


class LabSweeper(sweeper.LabSweeper):
    """hydra/sweeper=lab"""
