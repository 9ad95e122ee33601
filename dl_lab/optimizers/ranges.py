"""What torch's optimizers allow for the parameters that several of them share."""

from dl_lab.core.errors import BELOW_ONE, COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, Rule, check

BETAS: Rule = (
    lambda betas: len(betas) == 2 and all(0 <= beta < 1 for beta in betas),
    "two numbers from 0 up to, but not including, 1",
)
RULES: dict[str, Rule] = {
    "lr": POSITIVE,
    "momentum": BELOW_ONE,
    "betas": BETAS,
    "rho": FRACTION,
    "eps": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum_decay": NOT_NEGATIVE,
    "lr_decay": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
    "max_iter": COUNT,
    "history_size": COUNT,
    "ns_steps": COUNT,
}


def check_ranges(config: object) -> None:
    """Hold the fields of an optimizer's configuration against RULES.

    Raises:
        ConfigError: for the first that is out of range.
    """
    check("optimizer", config, RULES)
