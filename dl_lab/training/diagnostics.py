"""Signs that a run went wrong, as a line that says what happened and what to do. Each function is a rule on plain
numbers, and returns None for a run that it has nothing to say about. `diagnose` finds the numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from math import ceil, isfinite, sqrt
from typing import NamedTuple

from dl_lab.core.errors import counted, printable, quoted
from dl_lab.training.intervals import Interval, wilson

ROUNDING = 1e-9
LEAST_EXAMPLES = 20  # of a validation split, from which its metrics say something
NOISE = 0.05  # of the loss of the first batch, by which it may differ from that of all examples
TREND = 0.002  # of the validation loss, by which any learning lowers it
LEAST_STEPS = 20  # of a run, after which its loss should have decreased
RISE = 3.0  # factor on the lowest loss so far, and
RECOVERED = 0.1  # of that lowest loss, at which the run ends if the rise did no harm
RISE_OF_FIRST = 0.5  # share of the first loss, which a loss has to rise by to be more than noise
MOST_DEAD = 2 / 3  # of the units of a layer; some are dead in most networks with relu
VANISHED = 1e-6  # of the largest relative gradient of a layer
EXPLODED = 1e3  # norm of a gradient of outputs in nats or in standard deviations of the targets, where 1 is usual
GAP = 0.1  # in accuracy or r2, between training and validation, and
ERRORS = 5.0  # standard errors, relative to 1, of the ratio of their squared errors
GAP_IN_NATS = 0.3  # a factor of 1.35 on the perplexity
RESOLUTION = 0.01
MOST_HEADS = 2  # with a warning of the same kind


class Gradient(NamedTuple):
    """The norms of the gradient of a weight and of the weight."""

    norm: float
    weight: float

    @property
    def relative(self) -> float:
        return self.norm / self.weight


def warning(what: str, hint: str) -> str:
    return printable(f"warning: {what}; hint: {hint}")


def first_of(found: Iterable[str | None]) -> list[str]:
    """The warnings of one kind about several heads, of which the last one that is shown counts the others."""
    warnings = [each for each in found if each is not None]
    if len(warnings) <= MOST_HEADS:
        return warnings
    last = f"{warnings[MOST_HEADS - 1]} (the same holds for {counted(len(warnings) - MOST_HEADS, 'other target')})"
    return [*warnings[: MOST_HEADS - 1], last]


def no_better_than_guessing(
    name: str, accuracy: float, balanced: float, share: float, label: str, classes: int, weighted: bool
) -> str | None:
    """If accuracy is at most the `share` of the most frequent class, or of any other one that is always guessed.
    `balanced` is the mean recall of `classes`; if the loss has `weighted` them, it may give up accuracy for it.
    """
    guesses_one = balanced <= 1 / classes + ROUNDING
    if classes < 2 or not (guesses_one or (accuracy <= share + ROUNDING and not weighted)):
        return None
    level = f"no better than always guessing {label!r}, the most frequent class ({share:.4g})"
    if guesses_one and abs(accuracy - share) > ROUNDING:
        level = "that of guessing the same class for all examples"
    balance = " or loss.class_weights=balanced" if share > 1.5 / classes and not weighted else ""
    return warning(f"{name} {accuracy:.4g} is {level}", f"another optimizer.lr, more epochs{balance}")


def smoothed(points: Sequence[tuple[float, float]], least: float) -> list[float]:
    """The means of consecutive points (examples, value) of at least `least` examples each."""
    means, examples, total = [], 0.0, 0.0
    for number, value in points:
        examples, total = examples + number, total + number * value
        if examples >= least:
            means.append(total / examples)
            examples, total = 0.0, 0.0
    return means or ([total / examples] if examples else [])


def loss_spikes(losses: Sequence[float], lr: float | None) -> str | None:
    """If the loss rose far above the lowest one before. The first of the smoothed losses is that of step 1."""
    lowest = list(accumulate(losses, min))
    rises = [loss - low for loss, low in zip(losses[1:], lowest, strict=False)]
    if not rises or min(losses) < 0:
        return None
    place = max(range(len(rises)), key=rises.__getitem__)
    low, high = lowest[place], losses[place + 1]
    if not (high > RISE * low and high - low > RISE_OF_FIRST * losses[0]) or losses[-1] < RECOVERED * low:
        return None
    lower = "a schedule with warmup" if lr is None else f"lower optimizer.lr={lr:g}, schedule=warmup_cosine"
    return warning(
        f"the training loss rose from {low:.4g} to {high:.4g}, as it does if the learning rate is too high",
        f"{lower} or train.max_grad_norm=1",
    )


def loss_never_decreased(losses: Sequence[float], validations: Sequence[float], steps: int) -> str | None:
    """If the smoothed training loss ends where it began, at step 1, and no validation loss was below the first one."""
    if len(losses) < 2 or len(validations) < 2 or steps < LEAST_STEPS:
        return None
    first, last, validated = losses[0], losses[-1], validations[0]
    if first - last > NOISE * abs(first) or validated - min(validations) > TREND * abs(validated):
        return None
    return warning(
        f"the training loss never decreased: {first:.4g} at step 1, {last:.4g} at the end",
        "another optimizer.lr or initializer, and train=overfit, which shows whether the model can learn one batch",
    )


def dead_units(dead: Mapping[str, tuple[int, int]], examples: int, lr: float | None) -> str | None:
    """If the activations of many units (dead, units) of a layer are the same for all examples."""
    layers = {layer: numbers for layer, numbers in dead.items() if numbers[0] > MOST_DEAD * numbers[1]}
    if not layers:
        return None
    first, (number, units) = next(iter(layers.items()))
    more = f" and of {counted(len(layers) - 1, 'more layer')}" if len(layers) > 1 else ""
    lower = "" if lr is None else f"a lower optimizer.lr than {lr:g}, "
    return warning(
        f"dead units: {number} of {units} in {first}{more} have the same output for all of {examples:,} examples",
        f"{lower}another initializer, or an activation such as leaky_relu or gelu",
    )


def vanishing_gradients(gradients: Mapping[str, Gradient]) -> str | None:
    """If the gradients of some weights, relative to the weights, are far below that of another."""
    largest = max((gradient.relative for gradient in gradients.values()), default=0.0)
    vanished = {name: each for name, each in gradients.items() if each.relative < VANISHED * largest}
    if not vanished:
        return None
    name, least = min(vanished.items(), key=lambda item: item[1].relative)
    by = next(name for name, each in gradients.items() if each.relative == largest)
    times = f"{least.relative / largest:.0e} of that" if least.relative else "0, unlike that"
    return warning(
        f"vanishing gradients: {counted(len(vanished), 'layer')} of {len(gradients)} hardly learn; relative to its "
        f"weights, the gradient of {name} is {times} of {by}",
        "model.activation=relu with initializer=kaiming_normal, normalization, residual connections or fewer layers",
    )


def exploding_gradients(norms: Sequence[float], gradients: Mapping[str, Gradient], scaled: bool) -> str | None:
    """If the norms of the gradients at the points of the curves became huge: as numbers, if outputs are `scaled`;
    otherwise in comparison with the first one.
    """
    if not norms:
        return None
    later = max(norms[-max(1, len(norms) // 4) :])
    if later < EXPLODED * (1.0 if scaled else max(1.0, norms[0])) or not isfinite(later):
        return None
    where = max(gradients, key=lambda name: gradients[name].norm, default="")
    return warning(
        f"exploding gradients: their norm is {later:.3g}" + (f", most of it in {where}" if where else ""),
        "a smaller initializer or initializer=xavier_normal, normalization, or train.max_grad_norm=1",
    )


def overfitting(name: str, trained: Mapping[str, float], validated: Mapping[str, float], examples: int) -> str | None:
    """If a metric of training is far better than that of a validation on so many examples, beyond its error. The
    metrics are those of a head, and `name` is the main one with the name of the head.
    """
    kind = name.rpartition("/")[2]
    if examples < LEAST_EXAMPLES or not {kind, "mse" if kind == "r2" else kind} <= trained.keys() & validated.keys():
        return None
    before, after = trained[kind], validated[kind]
    if kind == "nats":
        far = after - before > GAP_IN_NATS
    elif kind == "r2":
        far = (
            before > 0
            and before - after > GAP
            and validated["mse"] > trained["mse"] * (1 + ERRORS * sqrt(2 / examples))
        )
    else:
        far = before - wilson(after * examples, examples)[1] > GAP
    if not far:
        return None
    return warning(
        f"training is far better than validation at the end: train/{name} {before:.4g}, val/{name} {after:.4g}",
        "more data, dropout=dropout, optimizer.weight_decay, a smaller model or train.patience",
    )


def missing_classes(head: str, labels: Sequence[str], counts: Sequence[float]) -> str | None:
    """If classes have no example in the validation split."""
    missing = [label for label, count in zip(labels, counts, strict=True) if not count]
    if not missing:
        return None
    of = "" if head == "class" else f" of {head}"
    return warning(
        f"the validation split has no example of {counted(len(missing), 'class', 'classes')}{of}: {quoted(missing)}; "
        "its metrics say nothing about them",
        "more examples of them, or another division of the data",
    )


def small_test_split(name: str, value: float, interval: Interval | None, examples: int, exact: bool) -> str | None:
    """If the 95 % interval of an accuracy is wider than 1 % to each side, with the size for which it is not, which is
    `exact` for Wilson's interval; if there are too few examples for an interval of r2.
    """
    if interval is None:
        few = f"the test split has {counted(examples, 'example')}, too few to say how exact {name} is"
        return warning(few, f"{LEAST_EXAMPLES} or more, or folds") if examples < LEAST_EXAMPLES else None
    half = (interval[1] - interval[0]) / 2
    if half <= RESOLUTION or name.rpartition("/")[2] == "r2":
        return None
    needed = examples * (half / RESOLUTION) ** 2
    if exact:
        needed = least(lambda size: _half_of_wilson(value, size) <= RESOLUTION, examples)
    return warning(
        f"the test split is too small to resolve 1 %: {counted(examples, 'example')} measure {name} "
        f"to ±{100 * half:.1f} %",
        f"about {rounded(needed):,} examples would; or compare means over seeds and folds",
    )


def _half_of_wilson(share: float, number: int) -> float:
    low, high = wilson(share * number, number)
    return (high - low) / 2


def least(is_enough: Callable[[int], bool], start: int) -> int:
    """The least number above `start` that is enough; all larger ones are."""
    low, high = start, 2 * start
    while not is_enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def rounded(number: float) -> int:
    """A number with two digits, rounded up."""
    unit = 10 ** max(0, len(str(int(number))) - 2)
    return ceil(number / unit - ROUNDING) * unit
