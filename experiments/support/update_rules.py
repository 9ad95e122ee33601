"""Every optimizer's update rule as published, in NumPy, without weight decay unless the paper is about it. A rule takes
the start, the gradient as a function and the settings `c` of conf/optimizer, and yields the point after each step.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
Gradient = Callable[[Point], Point]


def sgd(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Robbins & Monro 1951, with the momentum of Polyak 1964."""
    velocity = np.zeros_like(x)
    while True:
        velocity = c.momentum * velocity + gradient(x)
        x = x - c.lr * velocity
        yield x


def asgd(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Polyak & Juditsky 1992: the point before averaging, with the step sizes of Bottou 2010."""
    for t in count():
        lr = c.lr / (1 + c.lambd * c.lr * t) ** c.alpha
        x = x - lr * (gradient(x) + c.lambd * x)
        yield x


def adagrad(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Duchi et al. 2011."""
    total = np.zeros_like(x)
    while True:
        g = gradient(x)
        total = total + g**2
        x = x - c.lr * g / (np.sqrt(total) + c.eps)
        yield x


def rmsprop(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Tieleman & Hinton 2012."""
    mean = np.zeros_like(x)
    while True:
        g = gradient(x)
        mean = c.alpha * mean + (1 - c.alpha) * g**2
        x = x - c.lr * g / (np.sqrt(mean) + c.eps)
        yield x


def adadelta(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Zeiler 2012, arXiv:1212.5701, algorithm 1."""
    of_gradients, of_steps = np.zeros_like(x), np.zeros_like(x)
    while True:
        g = gradient(x)
        of_gradients = c.rho * of_gradients + (1 - c.rho) * g**2
        step = np.sqrt(of_steps + c.eps) / np.sqrt(of_gradients + c.eps) * g
        of_steps = c.rho * of_steps + (1 - c.rho) * step**2
        x = x - c.lr * step
        yield x


def rprop(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Riedmiller & Braun 1993, without weight backtracking."""
    sizes, before = np.full_like(x, c.lr), np.zeros_like(x)
    while True:
        g = gradient(x)
        agree = np.sign(g * before)
        sizes = np.clip(sizes * np.choose((agree + 1).astype(int), [c.etas[0], 1.0, c.etas[1]]), *c.step_sizes)
        before = np.where(agree < 0, 0.0, g)
        x = x - np.sign(before) * sizes
        yield x


def adam(x: Point, gradient: Gradient, c: Any, decay: float = 0.0) -> Iterator[Point]:
    """Kingma & Ba 2015, arXiv:1412.6980, algorithm 1; `decay`: Loshchilov & Hutter 2019, arXiv:1711.05101."""
    (b1, b2), m, v = c.betas, np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        g = gradient(x)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = (1 - c.lr * decay) * x - c.lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + c.eps)
        yield x


def adamw(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2."""
    return adam(x, gradient, c, decay=c.weight_decay)


def adamax(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Kingma & Ba 2015, arXiv:1412.6980, algorithm 2."""
    (b1, b2), m, u = c.betas, np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        g = gradient(x)
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, np.abs(g))
        x = x - c.lr / (1 - b1**t) * m / u
        yield x


def nadam(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Dozat 2016, algorithm 8, with its momentum schedule."""
    (b1, b2), m, v, product = c.betas, np.zeros_like(x), np.zeros_like(x), 1.0
    for t in count(1):
        g = gradient(x)
        now, later = (b1 * (1 - 0.5 * 0.96 ** (at * c.momentum_decay)) for at in (t, t + 1))
        product *= now
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        ahead = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
        x = x - c.lr * ahead / (np.sqrt(v / (1 - b2**t)) + c.eps)
        yield x


def radam(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Liu et al. 2019, arXiv:1908.03265, algorithm 2; adaptive from the sixth step on."""
    (b1, b2), m, v = c.betas, np.zeros_like(x), np.zeros_like(x)
    longest = 2 / (1 - b2) - 1
    for t in count(1):
        g = gradient(x)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        length, step = longest - 2 * t * b2**t / (1 - b2**t), m / (1 - b1**t)
        if length > 5:
            share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step = step * np.sqrt(share) * np.sqrt(1 - b2**t) / (np.sqrt(v) + c.eps)
        x = x - c.lr * step
        yield x


def adafactor(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Shazeer & Stern 2018, arXiv:1804.04235, algorithm 5, for a vector, which is not factored."""
    v = np.zeros_like(x)
    for t in count(1):
        g, share = gradient(x), t**c.beta2_decay
        v = (1 - share) * v + share * g**2
        step = g / np.sqrt(v)
        step = step / max(1.0, np.sqrt(np.mean(step**2)) / c.d)
        x = x - max(c.eps[1], np.sqrt(np.mean(x**2))) * min(c.lr, t**-0.5) * step
        yield x


def lbfgs(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Nocedal 1980's two-loop recursion with step length lr (Nocedal & Wright 2006, algorithm 7.4)."""
    pairs: list[tuple[Point, Point]] = []
    g = gradient(x)
    first = min(1.0, 1 / float(np.abs(g).sum()))
    while np.abs(g).max() > c.tolerance_grad:
        direction, alphas = -g, []
        for s, y in reversed(pairs):
            alphas.append(s @ direction / (s @ y))
            direction = direction - alphas[-1] * y
        if pairs:
            direction = direction * (pairs[-1][0] @ pairs[-1][1]) / (pairs[-1][1] @ pairs[-1][1])
        for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
            direction = direction + s * (alpha - y @ direction / (s @ y))
        step = c.lr * (1.0 if pairs else first) * direction
        pairs = [*pairs, (step, gradient(x + step) - g)][-c.history_size :]
        x, g = x + step, gradient(x + step)
        yield x
    while True:
        yield x


def muon(x: Point, gradient: Gradient, c: Any) -> Iterator[Point]:
    """Jordan et al. 2024, for a matrix of one row, whose only singular value is its norm."""
    momentum = np.zeros_like(x)
    while True:
        g = gradient(x)
        momentum = c.momentum * momentum + (1 - c.momentum) * g
        ahead = (1 - c.momentum) * g + c.momentum * momentum if c.nesterov else momentum
        length, value = np.linalg.norm(ahead), 1.0
        for _ in range(c.ns_steps):
            value = np.polyval([c.ns_coefficients[2], 0, c.ns_coefficients[1], 0, c.ns_coefficients[0], 0], value)
        x = (1 - c.lr * c.weight_decay) * x - c.lr * value * ahead / length
        yield x
