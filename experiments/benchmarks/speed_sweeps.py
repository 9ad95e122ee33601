"""How long do many runs take when they are trained together?

    python -m experiments.speed_sweeps [ROW ...] [--pairs 3] [--update]

Whole commands are timed alternately, as in experiments.speed: 64 runs (8 learning rates x 8 seeds) of mlp [32] on
digits, 20 epochs each, with every run folder. For Lightning one command is timed and multiplied by 64.
"""

from functools import partial

from experiments.benchmarks.harness import Row, command, lightning, parse_arguments, show_table

RUN = ("-m", "dl_lab.train", "-m", "model.hidden_sizes=[32]", "train.epochs=20")
RATES = "optimizer.lr=0.0005,0.001,0.002,0.003,0.005,0.01,0.02,0.05"


def sweep(launcher: str, seeds: int = 8) -> float:
    """Seconds of a sweep over eight learning rates and the given number of seeds."""
    return command(*RUN, RATES, f"seed=range({seeds})", f"hydra/launcher={launcher}")[0]


def against(launcher: str) -> tuple[float, float]:
    return sweep("vectorized"), sweep(launcher)


def against_lightning() -> tuple[float, float]:
    return sweep("vectorized"), 64 * lightning("digits")


def four_times_as_many() -> tuple[float, float]:
    return sweep("vectorized", 32), sweep("vectorized")


def two_processes() -> tuple[float, float]:
    """Seconds of a sweep of longer runs by two processes and by one, including the start of the processes."""
    line = ("model.hidden_sizes=[256,256]", "train.epochs=40", "optimizer.lr=0.001", "seed=range(16)")
    both = [command(*RUN[:3], *line, "hydra/launcher=processes", f"hydra.launcher.processes={n}")[0] for n in (2, 1)]
    return both[0], both[1]


ROWS = {
    "basic": Row("64 runs vectorized, against Hydra's basic launcher", 1 / 8, 1 / 15, partial(against, "basic")),
    "in_turn": Row("64 runs vectorized, against hydra/launcher=in_turn", 1 / 6, 1 / 15, partial(against, "in_turn")),
    "lightning": Row("64 runs vectorized, against 64 commands of Lightning", 1 / 60, 1 / 150, against_lightning),
    "many": Row("256 runs vectorized, against 64", 3.0, 2.0, four_times_as_many),
    "processes": Row("16 runs by two processes, against one", 1 / 1.6, 1 / 1.9, two_processes),
}


def main() -> None:
    options = parse_arguments(__doc__, ROWS, 3)
    show_table("Sweeps", "python -m experiments.speed_sweeps", ROWS, options)


if __name__ == "__main__":
    main()
