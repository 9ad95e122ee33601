"""Elementwise update rules, sorted by complexity; each step is a few operations on (run, P).

torch.optim has the same arithmetic for one run. A hyper-parameter that runs may differ in is a column (run, 1);
`stack.rate` and `stack.count` are those of the current step. Scalar factors are combined in columns (run, 1) before
they are applied to (run, P), which is much larger.
"""

import torch
from torch import Tensor

from dl_lab.vectorized.optimizers.stack import Stack, Step, rule


def root(squares: Tensor, out: Tensor) -> Tensor:
    """The square root. On a CPU, torch.sqrt takes 6 times as long for zeros and 20 times for tiny numbers."""
    return torch.rsqrt(squares, out=out).reciprocal_()


@rule("sgd", "lr momentum dampening weight_decay", "nesterov", counts=False)
def sgd(stack: Stack) -> Step:
    """SGD, optionally with momentum: a decaying sum of gradients."""
    momentum, nesterov = stack.number("momentum"), stack.shared("nesterov")
    dampening = stack.number("dampening") * (momentum > 0)  # torch ignores it without momentum
    if not momentum.any():
        return plain_sgd(stack)
    buffer = stack.zeros("momentum_buffer", momentum > 0)
    (momentum_column,) = stack.columns(momentum)
    dampened, scratch = bool(dampening.any()), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = added = stack.decayed(weights, gradient)
        if dampened:  # not the first gradient
            added = torch.mul(gradient, stack.columns(1 - dampening * (stack.count > 1))[0], out=scratch)
        torch.addcmul(added, buffer, momentum_column, out=buffer)
        weights.addcmul_(torch.addcmul(gradient, buffer, momentum_column, out=scratch) if nesterov else buffer, rate)

    return step


def plain_sgd(stack: Stack) -> Step:
    """SGD without momentum."""

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        weights.addcmul_(stack.decayed(weights, gradient), rate)

    return step


@rule("adagrad", "lr lr_decay weight_decay initial_accumulator_value eps")
def adagrad(stack: Stack) -> Step:
    """Adagrad: divide by the root of the sum of squared gradients."""
    total = stack.filled("sum", stack.number("initial_accumulator_value"))
    lr_decay = stack.number("lr_decay")
    (eps,) = stack.columns(stack.number("eps"))
    scale, scratch = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate / (1 + (stack.count - 1) * lr_decay))
        gradient = stack.decayed(weights, gradient)
        total.addcmul_(gradient, gradient)
        weights.addcdiv_(torch.mul(gradient, rate, out=scratch), root(total, scale).add_(eps))

    return step


@rule("rmsprop", "lr alpha eps weight_decay momentum", "centered")
def rmsprop(stack: Stack) -> Step:
    """RMSprop: divide by the root of the running mean of squared gradients, or of their variance if centered."""
    alpha, momentum = stack.number("alpha"), stack.number("momentum")
    squares = stack.zeros("square_avg")
    buffer = stack.zeros("momentum_buffer", momentum > 0) if momentum.any() else None
    mean = stack.zeros("grad_avg") if stack.shared("centered") else None
    kept, new, eps, momentum_column = stack.columns(alpha, 1 - alpha, stack.number("eps"), momentum)
    scale, scratch = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = stack.decayed(weights, gradient)
        squares.mul_(kept).addcmul_(torch.mul(gradient, new, out=scratch), gradient)
        variance = squares
        if mean is not None:
            mean.lerp_(gradient, new)
            variance = torch.addcmul(squares, mean, mean, value=-1, out=scratch)
        root(variance, scale).add_(eps)
        if buffer is None:
            weights.addcdiv_(torch.mul(gradient, rate, out=scratch), scale)
        else:
            weights.addcmul_(buffer.mul_(momentum_column).addcdiv_(gradient, scale), rate)

    return step


@rule("adadelta", "lr rho eps weight_decay")
def adadelta(stack: Stack) -> Step:
    """Adadelta: scale by the ratio of the running root mean squares of past steps and of gradients."""
    rho = stack.number("rho")
    squares, deltas = stack.zeros("square_avg"), stack.zeros("acc_delta")
    kept, new, eps = stack.columns(rho, 1 - rho, stack.number("eps"))
    delta, scratch = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = stack.decayed(weights, gradient)
        squares.mul_(kept).addcmul_(torch.mul(gradient, new, out=scratch), gradient)
        root(torch.add(deltas, eps, out=scratch), delta)
        delta.mul_(torch.add(squares, eps, out=scratch).rsqrt_()).mul_(gradient)
        deltas.mul_(kept).addcmul_(torch.mul(delta, new, out=scratch), delta)
        weights.addcmul_(delta, rate)

    return step


@rule("rprop", "lr etas step_sizes")
def rprop(stack: Stack) -> Step:
    """Rprop: step sizes grow while the sign of the gradient stays the same, and shrink when it changes."""
    before, sizes = stack.zeros("prev"), stack.zeros("step_size")
    shrink, grow, smallest, largest = stack.columns(*stack.number("etas"), *stack.number("step_sizes"))
    same, factor = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        first = stack.count == 1
        if first.any():
            sizes.add_(stack.columns(stack.rate * first)[0])
        torch.mul(gradient, before, out=same).sign_()  # 1; -1 where the sign changed; or 0
        # Ten times faster than masks: clamping +-1e30 gives grow and shrink, and 0 gives 1.
        torch.mul(same, 1e30, out=factor).add_(1)
        torch.minimum(torch.maximum(factor, shrink, out=factor), grow, out=factor)
        sizes.mul_(factor)
        torch.minimum(torch.maximum(sizes, smallest, out=sizes), largest, out=sizes)
        torch.mul(gradient, same.clamp_(max=0).add_(1), out=before)
        weights.addcmul_(torch.sign(before, out=same), sizes, value=-1)

    return step


@rule("asgd", "lr lambd alpha t0 weight_decay", on_device=True)
def asgd(stack: Stack) -> Step:
    """Averaged SGD: a decaying rate, and the mean of the weights from step t0 on; torch rounds both to float32."""
    lambd, alpha, t0 = stack.number("lambd"), stack.number("alpha"), stack.number("t0")
    mean, eta, mu = stack.zeros("ax"), stack.one_for_each("eta"), stack.one_for_each("mu")
    (pull,), scratch = stack.columns(lambd), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        eta.copy_(torch.where(stack.count == 1, stack.rate, eta))
        stack.used_rate = eta.clone()
        rate, share = stack.columns(-eta, mu)
        weights.addcmul_(torch.addcmul(stack.decayed(weights, gradient), weights, pull, out=scratch), rate)
        mean.addcmul_(torch.sub(weights, mean, out=scratch), share)
        falling = stack.count.to(eta.dtype).mul_((lambd * stack.rate).to(eta.dtype)).add_(1)
        power = (falling.double() ** alpha).to(eta.dtype)
        torch.mul(power.reciprocal_(), stack.rate.to(eta.dtype), out=eta)
        mu.copy_(1 / (stack.count - t0).clamp(min=1))

    return step


@rule("adamax", "lr betas eps weight_decay")
def adamax(stack: Stack) -> Step:
    """Adamax: the running mean of gradients, divided by a decaying maximum of their size."""
    beta1, beta2 = stack.number("betas")
    mean, largest = stack.zeros("exp_avg"), stack.zeros("exp_inf")
    new, kept, eps = stack.columns(1 - beta1, beta2, stack.number("eps"))
    scratch = stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate / (1 - beta1**stack.count))
        gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new)
        torch.maximum(largest.mul_(kept), torch.abs(gradient, out=scratch).add_(eps), out=largest)
        weights.addcdiv_(torch.mul(mean, rate, out=scratch), largest)

    return step


@rule("adam", "lr betas eps weight_decay", "amsgrad")
def adam(stack: Stack) -> Step:
    """Adam: the running mean of gradients divided by the root of the running mean of squares, bias-corrected."""
    return adam_step(stack, decoupled=False)


@rule("adamw", "lr betas eps weight_decay", "amsgrad")
def adamw(stack: Stack) -> Step:
    """AdamW: Adam with decoupled weight decay."""
    return adam_step(stack, decoupled=True)


def adam_step(stack: Stack, decoupled: bool) -> Step:
    """The step of Adam and AdamW."""
    beta1, beta2 = betas = stack.number("betas")
    eps = stack.number("eps")
    mean, squares = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq")
    largest = stack.zeros("max_exp_avg_sq") if stack.shared("amsgrad") else None
    new1, new2, kept2 = stack.columns(1 - beta1, 1 - beta2, beta2)
    scale, scratch = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        start1, start2 = 1 - betas**stack.count
        start = start2.sqrt_()
        rate, floor = stack.columns(-stack.rate * start / start1, eps * start)
        if decoupled:
            stack.decay(weights)
        else:
            gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new1)
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=scratch), gradient)
        if largest is not None:
            torch.maximum(largest, squares, out=largest)
        root(squares if largest is None else largest, scale).add_(floor)
        weights.addcdiv_(torch.mul(mean, rate, out=scratch), scale)

    return step


@rule("nadam", "lr betas eps weight_decay momentum_decay", "decoupled_weight_decay")
def nadam(stack: Stack) -> Step:
    """NAdam: Adam with Nesterov momentum that warms up; torch rounds the product of momenta to float32."""
    (beta1, beta2), eps = stack.number("betas"), stack.number("eps")
    slowness, decoupled = stack.number("momentum_decay"), stack.shared("decoupled_weight_decay")
    mean, squares, product = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq"), stack.one_for_each("mu_product")
    new1, new2, kept2 = stack.columns(1 - beta1, 1 - beta2, beta2)
    scale, scratch = stack.scratch(), stack.scratch()

    def step(weights: Tensor, gradient: Tensor) -> None:
        mu = beta1 * (1 - 0.5 * 0.96 ** (stack.count * slowness))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((stack.count + 1) * slowness))
        product.mul_(mu.to(product.dtype))
        start = (1 - beta2**stack.count).sqrt_()
        rate = -stack.rate * start
        past = product.double()
        of_gradient, of_mean = rate * (1 - mu) / (1 - past), rate * mu_next / (1 - past * mu_next)
        of_gradient, of_mean, floor = stack.columns(of_gradient, of_mean, eps * start)
        if decoupled:
            stack.decay(weights)
        else:
            gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new1)
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=scratch), gradient)
        root(squares, scale).add_(floor)
        weights.addcdiv_(torch.mul(gradient, of_gradient, out=scratch), scale)
        weights.addcdiv_(torch.mul(mean, of_mean, out=scratch), scale)  # two roundings, as in torch

    return step


@rule("radam", "lr betas eps weight_decay", "decoupled_weight_decay")
def radam(stack: Stack) -> Step:
    """RAdam: Adam that ignores the squares during the first steps, then rectifies their variance."""
    (beta1, beta2), eps = stack.number("betas"), stack.number("eps")
    decoupled = stack.shared("decoupled_weight_decay")
    mean, squares = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq")
    new1, new2, kept2, floor = stack.columns(1 - beta1, 1 - beta2, beta2, eps)
    scale, scratch = stack.scratch(), stack.scratch()
    most = 2 / (1 - beta2) - 1

    def step(weights: Tensor, gradient: Tensor) -> None:
        start1, start2 = 1 - beta1**stack.count, 1 - beta2**stack.count
        seen = most - 2 * stack.count * beta2**stack.count / start2
        trust = ((seen - 4) * (seen - 2) * most / ((most - 4) * (most - 2) * seen) * start2).sqrt()
        rate, rectified = -stack.rate / start1, seen > 5
        adaptive, plain = stack.columns(torch.where(rectified, rate * trust, 0), torch.where(rectified, 0, rate))
        if decoupled:
            stack.decay(weights)
        else:
            gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new1)
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=scratch), gradient)
        torch.div(adaptive, root(squares, scale).add_(floor), out=scratch).add_(plain)
        weights.addcmul_(mean, scratch)

    return step
