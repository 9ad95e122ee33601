"""Random numbers are a function of (seed, stream, step, layer, index), and look random along each of these.

The keys are fixed, so every statistic is deterministic. Bounds are five standard errors, or a p-value of 1e-4.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from dl_lab.core import rng
from dl_lab.dropouts.layers import Dropout

SAMPLE = 1 << 16
KEYS = [rng.key(seed, "dropout", step) for seed in range(4) for step in range(4)]


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    assert rng.seed_for(0, "initialization") == 9192405007709679343
    assert rng.seed_for(0, "order", 7) == 5303633338818667705
    assert rng.seed_for(2**63 - 1, "dropout", 10**9) == 6724399594772124744


def test_bits_are_the_same_in_every_version() -> None:
    key = rng.key(0, "dropout")
    assert rng.bits(key, 4).tolist() == [1741860265, -151973268, -2139458774, 2106129775]
    assert rng.bits(key, 4, layer=3).tolist() == [-1720333917, -15238297, 1106084635, -1326542412]


@pytest.mark.parametrize("layer", [0, 1, 3, 1000])
def test_bits_agree_with_the_hash_in_unbounded_integers(layer: int) -> None:
    """Python's integers have neither overflow nor sign-extending shifts, in which int32 code could be wrong."""
    modulus = 2**32
    for key in KEYS:
        first, second = (int(half) % modulus for half in key)
        expected = []
        for index in range(100):
            state = index * 0x9E3779B9 % modulus ^ (first + layer * 0x7FEB352D % (2**31 - 1)) % modulus
            state = ((state ^ state >> 16) * 0x7FEB352D + second) % modulus
            expected.append((state ^ state >> 15) * 0x846CA68B % modulus)
        assert [int(number) % modulus for number in rng.bits(key, 100, layer)] == expected


def test_seeds_fit_torch_and_differ_in_seed_stream_and_step() -> None:
    names = ("initialization", "order", "dropout", "augmentation", "split", "data")
    seeds = [rng.seed_for(seed, name, step) for seed in range(20) for name in names for step in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_key_contains_the_seed() -> None:
    for step in range(100):  # some have halves above 2^31
        low, high = (int(half) % 2**32 for half in rng.key(3, "dropout", step))
        assert low + (high << 32) == rng.seed_for(3, "dropout", step)


def test_a_generator_depends_on_seed_stream_and_step() -> None:
    drawn = torch.randperm(1000, generator=rng.generator(1, "order", 5))
    torch.testing.assert_close(torch.randperm(1000, generator=rng.generator(1, "order", 5)), drawn)
    for other in (rng.generator(2, "order", 5), rng.generator(1, "data", 5), rng.generator(1, "order", 6)):
        assert not torch.equal(torch.randperm(1000, generator=other), drawn)


def test_drawing_numbers_leaves_the_global_generator_unchanged() -> None:
    before = torch.random.get_rng_state()
    rng.uniform(KEYS[0], 10)
    torch.rand(3, generator=rng.generator(0, "order"))
    torch.testing.assert_close(torch.random.get_rng_state(), before)


def test_a_number_does_not_depend_on_how_many_are_drawn() -> None:
    for draw in (rng.bits, rng.uniform):
        torch.testing.assert_close(draw(KEYS[0], 10, 2), draw(KEYS[0], 1000, 2)[:10], rtol=0, atol=0)


@pytest.mark.parametrize("layer", [0, 1, 50])
def test_uniform_numbers_are_uniform(layer: int) -> None:
    p_values = []
    for key in KEYS:
        numbers = rng.uniform(key, SAMPLE, layer)
        assert numbers.dtype == torch.float32
        assert numbers.min() >= 0
        assert numbers.max() < 1
        p_values.append(stats.chisquare(np.histogram(numbers.numpy(), bins=256, range=(0, 1))[0]).pvalue)
    assert min(p_values) > 1e-4
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4  # and not too uniform to be random


def test_bits_cover_the_whole_range_of_32_bits() -> None:
    numbers = torch.cat([rng.bits(key, SAMPLE) for key in KEYS])
    assert numbers.dtype == torch.int32
    high = torch.bincount((numbers.long() + 2**31) >> 24, minlength=256)
    assert stats.chisquare(high.numpy()).pvalue > 1e-4
    assert len(numbers.unique()) > len(numbers) - 2 * len(numbers) ** 2 / 2**33  # n^2 / 2^33 pairs expected


@pytest.mark.parametrize("drop", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("size", [64, 4096])
def test_the_number_of_dropped_elements_is_binomial(drop: float, size: int) -> None:
    number = 1000
    kept = torch.stack([rng.keep_mask(rng.key(5, "dropout", n), (size,), drop).sum() for n in range(number)])
    scores = (kept.double() - size * (1 - drop)) / (size * drop * (1 - drop)) ** 0.5
    assert abs(scores.mean()) < 5 * number**-0.5
    # The variance of n variances of 1 is 2/n, with an excess kurtosis of at most 1/(64 * 0.05 * 0.95) = 0.33 more.
    assert abs(scores.var() - 1) < 5 * (2.33 / number) ** 0.5


def test_a_mask_with_probability_0_keeps_everything() -> None:
    assert all(rng.keep_mask(key, (SAMPLE,), 0.0).all() for key in KEYS)


def test_a_mask_has_its_shape_in_row_major_order() -> None:
    flat = rng.keep_mask(KEYS[0], (2 * 3 * 5,), 0.5)
    torch.testing.assert_close(rng.keep_mask(KEYS[0], (2, 3, 5), 0.5), flat.reshape(2, 3, 5))


def numbers(seed: int = 0, step: int = 0, layer: int = 0) -> Tensor:
    """Uniform numbers, scaled to mean 0 and variance 1."""
    uniform = rng.uniform(rng.key(seed, "dropout", step), SAMPLE, layer).double()
    return (uniform - 0.5) * 12**0.5


ALONG: dict[str, Callable[[int], Tensor]] = {
    "layers": lambda n: numbers(layer=n),
    "steps": lambda n: numbers(step=n),
    "seeds": lambda n: numbers(seed=n),
}


@pytest.mark.parametrize("along", ALONG)
def test_layers_steps_and_seeds_are_uncorrelated(along: str) -> None:
    drawn = torch.stack([ALONG[along](n) for n in range(12)])
    correlations = (drawn @ drawn.T / SAMPLE).fill_diagonal_(0)
    assert correlations.abs().max() < 5 * SAMPLE**-0.5


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 7, 8, 16, 28, 32, 64, 128, 256, 784, 1024, 4096])
def test_neighboring_indices_rows_and_columns_are_uncorrelated(distance: int) -> None:
    for step in range(8):
        drawn = numbers(step=step)
        assert abs((drawn[:-distance] * drawn[distance:]).mean()) < 5 * (SAMPLE - distance) ** -0.5


def test_eight_neighbors_in_a_mask_take_every_pattern_equally_often() -> None:
    patterns = torch.stack([rng.keep_mask(key, (SAMPLE // 8, 8), 0.5) for key in KEYS]).flatten(0, 1).long()
    counts = torch.bincount(patterns @ 2 ** torch.arange(8), minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_vmap_over_keys_draws_the_mask_of_each_key() -> None:
    stacked = torch.func.vmap(lambda key: rng.keep_mask(key, (6, 7), 0.3, 2))(torch.stack(KEYS))
    alone = torch.stack([rng.keep_mask(key, (6, 7), 0.3, 2) for key in KEYS])
    torch.testing.assert_close(stacked, alone)
    assert len(alone.flatten(1).unique(dim=0)) == len(KEYS)


def test_vmap_over_dropout_draws_the_mask_of_each_run() -> None:
    layer, x = Dropout(0.5), torch.rand(len(KEYS), 5, 11, generator=rng.generator(0, "x"))

    def run(key: Tensor, inputs: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"key": key}, inputs)

    stacked = torch.func.vmap(run)(torch.stack(KEYS), x)
    alone = torch.stack([run(key, inputs) for key, inputs in zip(KEYS, x, strict=True)])
    torch.testing.assert_close(stacked, alone, rtol=0, atol=0)
