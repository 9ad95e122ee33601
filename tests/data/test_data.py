"""Batches, windows, augmentation, normalization and splits, against plain indexing, NumPy and torchvision."""

import multiprocessing
import os
import sys
from dataclasses import replace
from itertools import islice
from math import ceil

import numpy as np
import pytest
import torch
from support.configs import parsed
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import functional as vision

from dl_lab.config.validation import typed
from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.batching import cut, steps_in_epoch, training_batches
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.partition import SplitConfig, divide, held_out
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING, Batch, InMemory, Split, Streamed, Windows

CPU = torch.device("cpu")
SPEC = DataSpec(kind="image", input_shape=(3, 6, 5), heads=(Head(name="class", task="classification", labels=("a",)),))

INPUTS, TARGETS = torch.arange(33.0).view(11, 3), torch.arange(11) * 10
CHOSEN = torch.tensor([30, 3, 7, 19, 0, 25, 11, 12, 28, 5, 16])  # 11 of the 40 examples of a larger dataset
LARGER = TensorDataset(torch.arange(80.0).view(40, 2), torch.arange(40))
SPLITS: dict[str, Split] = {
    "in_memory": InMemory(INPUTS, TARGETS),
    "streamed": Streamed(LARGER, CHOSEN, 0, CPU),
    "windows": Windows(torch.arange(62), 5),  # 11 windows, and 6 tokens to vary the offset
}
every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=list(SPLITS))


def batches(split: Split, seed: int, batch_size: int, number: int, start: int = 0) -> list[Batch]:
    return list(islice(training_batches(split, seed, batch_size, CPU, start), number))


def random_bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@every_split
@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7])
def test_a_batch_is_a_function_of_seed_and_step(split, start):
    uninterrupted = batches(split, 5, 4, 12)  # 3 steps an epoch
    resumed = batches(split, 5, 4, 12 - start, start)
    for (inputs, targets), (expected_inputs, expected_targets) in zip(resumed, uninterrupted[start:], strict=True):
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(targets, expected_targets)


class Processes(Dataset[tuple[int, int]]):
    """The process that reads an example, and its parent."""

    def __getitem__(self, index: int) -> tuple[int, int]:
        return os.getpid(), os.getppid()


@pytest.mark.skipif(sys.platform != "linux", reason="others cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_are_forks_that_live_for_the_whole_training(monkeypatch):
    """Children of the fork server, which is the default in a process of a sweep, would import torch again."""
    default = multiprocessing.context._default_context
    monkeypatch.setattr(default, "_actual_context", multiprocessing.get_context("forkserver"))
    state = torch.get_rng_state()
    read = batches(Streamed(Processes(), torch.arange(8), 2, CPU), 0, 4, 6)  # 2 steps an epoch
    workers = {int(pid) for pids, _ in read for pid in pids}
    assert len(workers) == 2
    assert {int(parent) for _, parents in read for parent in parents} == {os.getpid()}
    assert torch.equal(torch.get_rng_state(), state)  # it belongs to the user's model


@every_split
@pytest.mark.parametrize("batch_size", [1, 4, 5, 11])
def test_an_epoch_visits_every_example_once_and_its_last_batch_is_the_rest(split, batch_size):
    steps = ceil(11 / batch_size)
    for start in (0, steps):  # the first epoch and the second
        epoch = [inputs for inputs, _ in batches(split, 3, batch_size, steps, start)]
        sizes = [batch_size] * (steps - 1) + [11 - batch_size * (steps - 1)]
        if sizes[-2:] == [5, 1]:
            sizes[-2:] = [4, 2]  # one example has no variance for batch normalization
        assert [len(inputs) for inputs in epoch] == sizes
        assert len(torch.cat(epoch).unique(dim=0)) == 11


@pytest.mark.parametrize("batch_size", [2, 3, 4, 50])
@pytest.mark.parametrize("examples", range(2, 12))
def test_no_batch_has_one_example_if_a_model_needs_two(examples, batch_size):
    batches = cut(torch.arange(examples), batch_size, joins=True)
    assert torch.equal(torch.cat(batches), torch.arange(examples))
    assert min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= max(batch_size, 3)
    assert len(batches) == steps_in_epoch(examples, batch_size, joins=True)
    assert len(cut(torch.arange(examples), batch_size)) == ceil(examples / batch_size)


@every_split
def test_the_order_depends_on_seed_and_epoch(split):
    seen = [batches(split, seed, 11, 1, start)[0][1].flatten().tolist() for seed in (0, 1) for start in (0, 1)]
    assert len({tuple(order) for order in seen}) == 4


def test_batches_in_memory_are_equal_to_plain_indexing():
    index = torch.tensor([4, 0, 10])
    ((inputs, targets),) = SPLITS["in_memory"].batches([index])
    assert torch.equal(inputs, INPUTS[index])
    assert torch.equal(targets, TARGETS[index])
    assert torch.equal(SPLITS["in_memory"].in_order(), torch.arange(11))


def test_streamed_batches_are_equal_to_plain_indexing_of_the_chosen_examples():
    ragged = [torch.tensor([4, 0, 10]), torch.tensor([1])]
    for index, (inputs, targets) in zip(ragged, SPLITS["streamed"].batches(ragged), strict=True):
        assert torch.equal(inputs, LARGER.tensors[0][CHOSEN[index]])
        assert torch.equal(targets, CHOSEN[index])
    assert torch.equal(SPLITS["streamed"].in_order(), torch.arange(11))


def test_targets_are_the_window_one_token_later():
    tokens = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], dtype=torch.int32)
    ((inputs, targets),) = Windows(tokens, 4).batches([torch.tensor([5, 0])])
    assert inputs.tolist() == [[9, 2, 6, 5], [3, 1, 4, 1]]
    assert targets.tolist() == [[2, 6, 5, 3], [1, 4, 1, 5]]
    assert inputs.dtype == targets.dtype == torch.int64  # as embeddings and cross-entropy require


@pytest.mark.parametrize("length", [2, 5, 6, 7, 10, 11, 12, 58])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_evaluation_predicts_every_token_except_the_first_once(length, batch_size):
    windows = Windows(torch.arange(length), 5)
    pairs = list(windows.batches(windows.in_order().split(batch_size)))
    inputs, targets = (torch.cat(parts).flatten() for parts in zip(*pairs, strict=True))
    counted = targets != PADDING
    assert targets[counted].tolist() == list(range(1, length))
    assert torch.equal(inputs[counted], targets[counted] - 1)
    # padding completes the last window
    assert targets[length - 1 :].tolist() == [-1] * (-(length - 1) % 5)


def test_a_training_epoch_visits_disjoint_windows_from_a_random_offset():
    windows = Windows(torch.arange(61), 5)  # 60 predictions: 11 windows and 5 more, so every offset occurs
    starts = []
    for epoch in range(30):
        order = windows.shuffled(rng.generator(0, "order", epoch))
        ((_, targets),) = windows.batches([order])
        predicted = targets.flatten().sort().values
        starts.append(int(predicted[0]) - 1)
        assert torch.equal(predicted, torch.arange(55) + starts[-1] + 1)  # no token twice, no padding
    assert set(starts) == {0, 1, 2, 3, 4}


def candidates(image: Tensor, flip: bool, crop: int) -> dict[tuple[int, int, bool], Tensor]:
    """Every possible (row, column, mirrored) crop, by torchvision."""
    height, width = image.shape[-2:]
    padded = vision.pad(image, [crop])
    found = {}
    for row in range(2 * crop + 1):
        for column in range(2 * crop + 1):
            moved = vision.crop(padded, row, column, height, width)
            found[row, column, False] = moved
            if flip:
                found[row, column, True] = vision.hflip(moved)
    return found


@pytest.mark.parametrize(("flip", "crop"), [(True, 0), (False, 2), (True, 1), (True, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_augmented_image_is_a_crop_or_mirrored_crop_of_torchvision(flip, crop, channels):
    images = random_bytes(600, channels, 6, 5)  # no two crops of random bytes are equal
    augmented = Augmentation(flip=flip, crop=crop)(images, rng.key(0, "augmentation"))
    assert augmented.dtype == torch.uint8
    drawn = []
    for image, result in zip(images, augmented, strict=True):
        matching = [draw for draw, moved in candidates(image, flip, crop).items() if torch.equal(moved, result)]
        assert len(matching) == 1
        drawn += matching
    choices = len(candidates(images[0], flip, crop))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == choices  # every offset and both mirrors occur
    expected = 600 / choices
    # five standard deviations of a binomial count, which are at most the root of its expectation
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_augmentation_is_a_function_of_its_key():
    augmentation, images = Augmentation(flip=True, crop=2), random_bytes(20, 3, 6, 5)
    first, again, other = (augmentation(images, rng.key(0, "augmentation", step)) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_negative_crop_is_rejected():
    with pytest.raises(ConfigError, match=r"dataset\.crop=-1 .*allowed: a whole number, 0 or more"):
        parsed("dataset=digits", "dataset.crop=-1")


@pytest.mark.parametrize("channels", [1, 3])
def test_byte_statistics_agree_with_numpy(channels):
    images = random_bytes(50, channels, 6, 5) // torch.arange(1, channels + 1, dtype=torch.uint8).view(-1, 1, 1)
    mean, std = byte_statistics(images)
    reference = images.numpy().astype(np.float64)
    # float64 sums of at most 1,500 terms: rounding far below 1e-12 of their size
    assert_close(mean, torch.from_numpy(reference.mean((0, 2, 3), keepdims=True)[0]), rtol=1e-12, atol=0)
    assert_close(std, torch.from_numpy(reference.std((0, 2, 3), keepdims=True)[0]), rtol=1e-12, atol=0)


def test_a_constant_channel_has_standard_deviation_1():
    mean, std = byte_statistics(torch.full((4, 1, 2, 2), 7, dtype=torch.uint8))
    assert (mean.item(), std.item()) == (7, 1)


def image_data(augmentation: Augmentation | None) -> Data:
    train = random_bytes(40, 3, 6, 5) // torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)
    mean, std = byte_statistics(train)
    split = InMemory(train, torch.zeros(40, dtype=torch.int64))
    return Data(spec=SPEC, train=split, validation=split, test=None, mean=mean, std=std, augmentation=augmentation)


def test_prepared_training_images_have_mean_0_and_standard_deviation_1_per_channel():
    data = image_data(None)
    prepared = data.prepare(data.train.inputs).numpy()
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), 0, atol=1e-12)  # float64, 1,200 terms of size 1
    np.testing.assert_allclose(prepared.std((0, 2, 3)), 1, atol=1e-12)


def test_preparation_augments_before_it_normalizes_and_only_with_a_key():
    augmentation, key = Augmentation(flip=True, crop=2), rng.key(0, "augmentation")
    data, plain = image_data(augmentation), image_data(None)
    images = data.train.inputs
    assert torch.equal(data.prepare(images), plain.prepare(images))
    assert torch.equal(data.prepare(images, key), plain.prepare(augmentation(images, key)))
    assert torch.equal(plain.prepare(images, key), plain.prepare(images))


def test_inputs_without_statistics_stay_unchanged():
    split = InMemory(INPUTS, TARGETS)
    assert Data(spec=SPEC, train=split, validation=split, test=None).prepare(INPUTS) is INPUTS


def test_images_prepared_once_are_equal_to_images_prepared_at_every_step():
    stored = image_data(None)
    ready = stored.prepared_once()
    for name in ("train", "validation"):
        before, after = getattr(stored, name), getattr(ready, name)
        assert torch.equal(ready.prepare(after.inputs), stored.prepare(before.inputs))
        assert ready.prepare(after.inputs) is after.inputs
        assert torch.equal(after.targets, before.targets)
    assert stored.train.inputs.dtype == torch.uint8  # unchanged


def test_augmented_streamed_and_large_splits_are_not_prepared_once():
    many = InMemory(torch.zeros(1, 1, 4001, 2500, dtype=torch.uint8), torch.zeros(1))  # more than 10,000,000 values
    data = replace(image_data(Augmentation(flip=True, crop=0)), validation=SPLITS["streamed"], test=many)
    ready = data.prepared_once()
    assert ready.train is data.train
    assert ready.validation is data.validation
    assert ready.test is data.test


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_moving_data_casts_floats_and_keeps_integers(dtype):
    floats, whole = InMemory(INPUTS.double(), INPUTS.double()), InMemory(random_bytes(4, 1, 2, 2), TARGETS[:4])
    mean, std = byte_statistics(whole.inputs)
    data = Data(spec=SPEC, train=floats, validation=whole, test=None, mean=mean, std=std).to(CPU, dtype)
    assert data.train.inputs.dtype == data.mean.dtype == data.std.dtype == dtype
    assert data.train.targets.dtype == torch.float64
    assert data.validation.inputs.dtype == torch.uint8
    assert data.validation.targets.dtype == torch.int64
    assert data.test is None
    assert data.prepare(data.validation.inputs).dtype == dtype
    assert Windows(torch.arange(9), 2).to(CPU, dtype).tokens.dtype == torch.int64


@pytest.mark.parametrize(
    ("asked", "examples", "held"),
    [(0, 150, 0), (0.1, 150, 15), (0.25, 12, 3), (0.999, 10, 10), (1, 10, 1), (20, 150, 20)],
)
def test_a_value_below_1_is_a_fraction_and_other_values_are_counts(asked, examples, held):
    assert held_out(asked, examples) == held


@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [(0.1, 0.2, (70, 10, 20)), (7, 0, (93, 7, 0)), (1, 98, (1, 1, 98)), (0.5, 13, (37, 50, 13))],
)
def test_the_parts_have_the_requested_sizes_and_are_disjoint(validation, test, sizes):
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    parts = divide(100, validation, test, order)
    assert tuple(len(part) for part in parts) == sizes
    assert torch.equal(torch.cat(parts), order)  # cut in order, the test part last


@pytest.mark.parametrize(
    ("validation", "test", "key"),
    [(0, 0.2, "dataset.validation=0"), (0.004, 0.2, "dataset.validation=0.004"), (0.5, 0.5, "dataset.test=0.5"),
     (100, 0, "dataset.validation=100"), (1, 99, "dataset.test=99"), (1, 1000, "dataset.test=1000")],
)  # fmt: skip
def test_a_division_without_training_or_validation_is_rejected(validation, test, key):
    with pytest.raises(ConfigError) as caught:
        divide(100, validation, test, torch.arange(100))
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize("value", [-0.1, -3, 1.0, 2.5, float("nan"), float("inf")])
def test_a_part_is_a_fraction_or_a_whole_number(name, value):
    with pytest.raises(ConfigError, match=f"dataset.{name}={value} "):
        typed(SplitConfig, {"validation": 0.1, "test": 0.1, name: value}, "dataset")
    assert getattr(typed(SplitConfig, {"validation": 1, "test": 1, name: 20.0}, "dataset"), name) == 20


@pytest.mark.parametrize(
    ("tasks", "sizes", "task", "outputs", "columns"),
    [
        (["regression"], [3], "regression", 3, [3]),
        (["classification"], [4], "classification", 4, [1]),
        (["language_modelling"], [7], "language_modelling", 7, [1]),
        (["regression", "classification"], [2, 4], "multi_output", 6, [2, 1]),
        (["classification", "classification"], [4, 4], "multi_output", 8, [1, 1]),
    ],
)
def test_a_spec_counts_outputs_and_target_columns(tasks, sizes, task, outputs, columns):
    triples = zip("ab", tasks, sizes, strict=False)
    spec = replace(SPEC, heads=tuple(Head(name=name, task=each, labels=("",) * size) for name, each, size in triples))
    assert (spec.task, spec.num_outputs) == (task, outputs)
    assert [head.columns for head in spec.heads] == columns


def test_heads_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="2 heads are named 'a'"):
        replace(SPEC, heads=tuple(Head(name=name, task="regression", labels=("",)) for name in "aba"))
