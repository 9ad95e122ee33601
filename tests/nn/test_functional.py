"""Attention and cross-entropy of single runs and of stacks (vmap), against torch.nn.functional."""

import pytest
import torch
import torch.nn.functional as F

from dl_lab.nn.functional import attention, cross_entropy, is_mapped

CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("causal", [True, False])
def test_attention_of_a_stack_agrees_with_torch_for_each_member(causal):
    query, key, value = normal(3, 3, 2, 4, 7, 5)  # (3, member, batch, head, time, channel)
    stacked = torch.func.vmap(lambda *each: attention(*each, causal))(query, key, value)
    for member in range(3):
        parts = query[member], key[member], value[member]
        expected = F.scaled_dot_product_attention(*parts, is_causal=causal)
        torch.testing.assert_close(attention(*parts, causal), expected, **CLOSE)
        torch.testing.assert_close(stacked[member], expected, **CLOSE)


@pytest.mark.parametrize("has_class_weights", [False, True])
@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("ignore_index", [None, -1])
def test_cross_entropy_of_a_stack_agrees_with_torch_for_each_member(ignore_index, has_weights, has_class_weights):
    logits, smoothing = normal(3, 20, 4), torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64)
    targets = torch.arange(60).view(3, 20) % 4
    if ignore_index is not None:
        targets[:, ::3] = ignore_index
    weights = normal(3, 20).abs() if has_weights else None
    of_classes = normal(3, 4).abs() if has_class_weights else None

    def of_member(*each):
        return cross_entropy(*each[:2], ignore_index, *each[2:])

    axes = (0, 0, 0, 0 if has_weights else None, 0 if has_class_weights else None)
    stacked = torch.func.vmap(of_member, axes)(logits, targets, smoothing, weights, of_classes)
    kept = {} if ignore_index is None else {"ignore_index": ignore_index}
    for member, smooth in enumerate(smoothing.tolist()):
        own = [each if each is None else each[member] for each in (weights, of_classes)]
        options = {"weight": own[1], "label_smoothing": smooth, **kept}
        losses = F.cross_entropy(logits[member], targets[member], reduction="none", **options)
        expected = (losses if own[0] is None else losses * own[0]).sum()
        alone = cross_entropy(logits[member], targets[member], ignore_index, smooth, *own)
        torch.testing.assert_close(alone, expected, **CLOSE)
        torch.testing.assert_close(stacked[member], expected, **CLOSE)


def test_is_mapped_is_true_only_for_a_tensor_that_vmap_maps_over():
    seen, ones = [], torch.ones(2)
    torch.func.vmap(lambda x, y: seen.append((is_mapped(x), is_mapped(y))) or x, (0, None))(ones, ones)
    assert seen == [(True, False)]
    assert not is_mapped(ones)
