"""Rules that treat every number of a parameter alike, from the simplest on; each step is a few operations on (run, P).

torch.optim has the same arithmetic for one run. Whatever runs differ in is a column (run, 1); `stack.rate` and
`stack.count` are this step's. Where a step size multiplies and another number divides, both are applied to what is
small, (run, 1), rather than to (run, P).
"""

import torch
from torch import Tensor

from dl_lab.vectorized.optimizers.stack import Stack, Step, rule


def root(squares: Tensor, out: Tensor) -> Tensor:
    """The square root, 0 of 0; on a CPU torch's own takes six times as long of zeros, twenty of tiny numbers."""
    return torch.rsqrt(squares, out=out).reciprocal_()


@rule("sgd", "lr momentum dampening weight_decay", "nesterov", counts=False)
def sgd(stack: Stack) -> Step:
    """Against the gradient, or a running sum of gradients."""
    momentum, nesterov = stack.number("momentum"), stack.shared("nesterov")
    dampening = stack.number("dampening") * (momentum > 0)  # torch ignores it where there is no momentum
    if not momentum.any():
        return plain_sgd(stack)
    buffer = stack.zeros("momentum_buffer", momentum > 0)
    (momentum_column,) = stack.columns(momentum)
    dampened, room = bool(dampening.any()), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = added = stack.decayed(weights, gradient)
        if dampened:  # but never the first gradient
            added = torch.mul(gradient, stack.columns(1 - dampening * (stack.count > 1))[0], out=room)
        torch.addcmul(added, buffer, momentum_column, out=buffer)
        weights.addcmul_(torch.addcmul(gradient, buffer, momentum_column, out=room) if nesterov else buffer, rate)

    return step


def plain_sgd(stack: Stack) -> Step:
    """Against the gradient."""

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        weights.addcmul_(stack.decayed(weights, gradient), rate)

    return step


@rule("adagrad", "lr lr_decay weight_decay initial_accumulator_value eps")
def adagrad(stack: Stack) -> Step:
    """Steps fall with the sum of all squared gradients."""
    total = stack.filled("sum", stack.number("initial_accumulator_value"))
    lr_decay = stack.number("lr_decay")
    (eps,) = stack.columns(stack.number("eps"))
    scale, room = stack.room(), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate / (1 + (stack.count - 1) * lr_decay))
        gradient = stack.decayed(weights, gradient)
        total.addcmul_(gradient, gradient)
        weights.addcdiv_(torch.mul(gradient, rate, out=room), root(total, scale).add_(eps))

    return step


@rule("rmsprop", "lr alpha eps weight_decay momentum", "centered")
def rmsprop(stack: Stack) -> Step:
    """Steps fall with the running mean of squared gradients; centered: with their variance."""
    alpha, momentum = stack.number("alpha"), stack.number("momentum")
    squares = stack.zeros("square_avg")
    buffer = stack.zeros("momentum_buffer", momentum > 0) if momentum.any() else None
    mean = stack.zeros("grad_avg") if stack.shared("centered") else None
    kept, new, eps, momentum_column = stack.columns(alpha, 1 - alpha, stack.number("eps"), momentum)
    scale, room = stack.room(), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = stack.decayed(weights, gradient)
        squares.mul_(kept).addcmul_(torch.mul(gradient, new, out=room), gradient)
        variance = squares
        if mean is not None:
            mean.lerp_(gradient, new)
            variance = torch.addcmul(squares, mean, mean, value=-1, out=room)
        root(variance, scale).add_(eps)
        if buffer is None:
            weights.addcdiv_(torch.mul(gradient, rate, out=room), scale)
        else:
            weights.addcmul_(buffer.mul_(momentum_column).addcdiv_(gradient, scale), rate)

    return step


@rule("adadelta", "lr rho eps weight_decay")
def adadelta(stack: Stack) -> Step:
    """Steps in the unit of the parameter: the running size of past steps over that of gradients."""
    rho = stack.number("rho")
    squares, deltas = stack.zeros("square_avg"), stack.zeros("acc_delta")
    kept, new, eps = stack.columns(rho, 1 - rho, stack.number("eps"))
    delta, room = stack.room(), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate)
        gradient = stack.decayed(weights, gradient)
        squares.mul_(kept).addcmul_(torch.mul(gradient, new, out=room), gradient)
        root(torch.add(deltas, eps, out=room), delta)
        delta.mul_(torch.add(squares, eps, out=room).rsqrt_()).mul_(gradient)
        deltas.mul_(kept).addcmul_(torch.mul(delta, new, out=room), delta)
        weights.addcmul_(delta, rate)

    return step


@rule("rprop", "lr etas step_sizes")
def rprop(stack: Stack) -> Step:
    """The sign of the gradient alone: a step grows while it stays, shrinks and pauses when it turns."""
    before, sizes = stack.zeros("prev"), stack.zeros("step_size")
    shrink, grow, smallest, largest = stack.columns(*stack.number("etas"), *stack.number("step_sizes"))
    same, factor = stack.room(), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        first = stack.count == 1
        if first.any():
            sizes.add_(stack.columns(stack.rate * first)[0])
        torch.mul(gradient, before, out=same).sign_()  # 1, or -1 where it turned, or 0
        # Masks are ten times slower than this: a large number either way is cut to grow and to shrink, 0 makes 1.
        torch.mul(same, 1e30, out=factor).add_(1)
        torch.minimum(torch.maximum(factor, shrink, out=factor), grow, out=factor)
        sizes.mul_(factor)
        torch.minimum(torch.maximum(sizes, smallest, out=sizes), largest, out=sizes)
        torch.mul(gradient, same.clamp_(max=0).add_(1), out=before)
        weights.addcmul_(torch.sign(before, out=same), sizes, value=-1)

    return step


@rule("asgd", "lr lambd alpha t0 weight_decay", on_device=True)
def asgd(stack: Stack) -> Step:
    """A falling rate, and the mean of the weights from step t0 on; torch rounds rate and share to float32."""
    lambd, alpha, t0 = stack.number("lambd"), stack.number("alpha"), stack.number("t0")
    mean, eta, mu = stack.zeros("ax"), stack.one_for_each("eta"), stack.one_for_each("mu")
    (pull,), room = stack.columns(lambd), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        eta.copy_(torch.where(stack.count == 1, stack.rate, eta))
        rate, share = stack.columns(-eta, mu)
        weights.addcmul_(torch.addcmul(stack.decayed(weights, gradient), weights, pull, out=room), rate)
        mean.addcmul_(torch.sub(weights, mean, out=room), share)
        falling = stack.count.to(eta.dtype).mul_((lambd * stack.rate).to(eta.dtype)).add_(1)
        power = (falling.double() ** alpha).to(eta.dtype)
        torch.mul(power.reciprocal_(), stack.rate.to(eta.dtype), out=eta)
        mu.copy_(1 / (stack.count - t0).clamp(min=1))

    return step


@rule("adamax", "lr betas eps weight_decay")
def adamax(stack: Stack) -> Step:
    """The running mean of gradients over the largest of late."""
    beta1, beta2 = stack.number("betas")
    mean, largest = stack.zeros("exp_avg"), stack.zeros("exp_inf")
    new, kept, eps = stack.columns(1 - beta1, beta2, stack.number("eps"))
    room = stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        (rate,) = stack.columns(-stack.rate / (1 - beta1**stack.count))
        gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new)
        torch.maximum(largest.mul_(kept), torch.abs(gradient, out=room).add_(eps), out=largest)
        weights.addcdiv_(torch.mul(mean, rate, out=room), largest)

    return step


@rule("adam", "lr betas eps weight_decay", "amsgrad")
def adam(stack: Stack) -> Step:
    """The running mean of gradients over the root of that of their squares, both free of their start at 0."""
    return adam_step(stack, decoupled=False)


@rule("adamw", "lr betas eps weight_decay", "amsgrad")
def adamw(stack: Stack) -> Step:
    """Adam whose weight decay does not pass through the means."""
    return adam_step(stack, decoupled=True)


def adam_step(stack: Stack, decoupled: bool) -> Step:
    """Both of them."""
    beta1, beta2 = betas = stack.number("betas")
    eps = stack.number("eps")
    mean, squares = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq")
    largest = stack.zeros("max_exp_avg_sq") if stack.shared("amsgrad") else None
    new1, new2, kept2 = stack.columns(1 - beta1, 1 - beta2, beta2)
    scale, room = stack.room(), stack.room()

    def step(weights: Tensor, gradient: Tensor) -> None:
        start1, start2 = 1 - betas**stack.count
        start = start2.sqrt_()
        rate, floor = stack.columns(-stack.rate * start / start1, eps * start)
        if decoupled:
            stack.decay(weights)
        else:
            gradient = stack.decayed(weights, gradient)
        mean.lerp_(gradient, new1)
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=room), gradient)
        if largest is not None:
            torch.maximum(largest, squares, out=largest)
        root(squares if largest is None else largest, scale).add_(floor)
        weights.addcdiv_(torch.mul(mean, rate, out=room), scale)

    return step


@rule("nadam", "lr betas eps weight_decay momentum_decay", "decoupled_weight_decay")
def nadam(stack: Stack) -> Step:
    """Adam that looks ahead, by a momentum that warms up; torch rounds its product over the steps to float32."""
    (beta1, beta2), eps = stack.number("betas"), stack.number("eps")
    slowness, decoupled = stack.number("momentum_decay"), stack.shared("decoupled_weight_decay")
    mean, squares, product = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq"), stack.one_for_each("mu_product")
    new1, new2, kept2 = stack.columns(1 - beta1, 1 - beta2, beta2)
    scale, room = stack.room(), stack.room()

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
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=room), gradient)
        root(squares, scale).add_(floor)
        weights.addcdiv_(torch.mul(gradient, of_gradient, out=room), scale)
        weights.addcdiv_(torch.mul(mean, of_mean, out=room), scale)  # rounded twice, as in torch

    return step


@rule("radam", "lr betas eps weight_decay", "decoupled_weight_decay")
def radam(stack: Stack) -> Step:
    """Adam that leaves the squares out for as long as too few were seen, and then trusts them by and by."""
    (beta1, beta2), eps = stack.number("betas"), stack.number("eps")
    decoupled = stack.shared("decoupled_weight_decay")
    mean, squares = stack.zeros("exp_avg"), stack.zeros("exp_avg_sq")
    new1, new2, kept2, floor = stack.columns(1 - beta1, 1 - beta2, beta2, eps)
    scale, room = stack.room(), stack.room()
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
        squares.mul_(kept2).addcmul_(torch.mul(gradient, new2, out=room), gradient)
        torch.div(adaptive, root(squares, scale).add_(floor), out=room).add_(plain)
        weights.addcmul_(mean, room)

    return step
