"""Attention and cross-entropy, in the form that is fastest on the device and under torch.func.vmap."""

import torch
import torch.nn.functional as F
from torch import Tensor

NO_CLASS = -(2**62)  # torch's default, -100, would silently leave out the examples with that number


def is_mapped(tensor: Tensor) -> bool:
    """True inside torch.func.vmap if it maps over the tensor; some of torch's kernels are slow or unsupported then."""
    return torch._C._functorch.is_batchedtensor(tensor)


def attention(query: Tensor, key: Tensor, value: Tensor, causal: bool, real: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V for queries, keys and values (batch, head, time, channel), over all keys or those that
    are `real` (batch, time). Uses torch's fused kernel, except on a CPU under torch.compile, which fuses the formula
    better (10 % of a step of nanoGPT), and under vmap.
    """
    mask = None if real is None else real[:, None, None]
    if query.device.type != "cpu" or not (torch.compiler.is_compiling() or is_mapped(query)):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1) @ value


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_index: int | None = None,
    label_smoothing: float | Tensor = 0.0,
    weights: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """F.cross_entropy with reduction="sum", for logits (example, class) and targets (example,). Each example may have
    a weight (example,), and each class a weight (class,), which is the `weight` of F.cross_entropy.

    Under vmap, where torch's own is slow, it evaluates the formula; there `label_smoothing` may be a tensor ().
    """
    weights, class_weights = (each if each is None else each.to(logits.dtype) for each in (weights, class_weights))
    if not is_mapped(logits):
        ignored, reduction = NO_CLASS if ignore_index is None else ignore_index, "sum" if weights is None else "none"
        losses = F.cross_entropy(
            logits,
            target,
            weight=class_weights,
            ignore_index=ignored,
            reduction=reduction,
            label_smoothing=float(label_smoothing),
        )
        return losses if weights is None else (losses * weights).sum()
    counts = None if ignore_index is None else target != ignore_index
    # Classes come first, because a softmax over a short last dimension is five times slower.
    log_probabilities = logits.T.contiguous().log_softmax(dim=0)
    classes = target if counts is None else target * counts
    of_class = log_probabilities.gather(0, classes[None])[0]
    if class_weights is not None:
        of_class = of_class * class_weights.gather(0, classes)
        log_probabilities = log_probabilities * class_weights[:, None]
    if isinstance(label_smoothing, Tensor) or label_smoothing > 0:
        share = label_smoothing.to(logits.dtype) if isinstance(label_smoothing, Tensor) else label_smoothing
        of_class = (1 - share) * of_class + share * log_probabilities.mean(dim=0)
    for factors in (counts, weights):
        of_class = of_class if factors is None else of_class * factors
    return -of_class.sum()
