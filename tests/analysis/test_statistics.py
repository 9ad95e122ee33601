"""What a few seeds can tell, against SciPy, published tables and simulations with fixed seeds."""

from math import isnan

import numpy as np
import pytest
from scipy import stats

from dl_lab.analysis.statistics import bootstrap, p_value, seeds_needed, student, verdicts, wider

SCORES = [0.91, 0.935, 0.9, 0.922, 0.941, 0.93, 0.917, 0.944]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.9999])
def test_the_interval_of_a_mean_is_scipys(confidence):
    expected = stats.ttest_1samp(SCORES, 0.0).confidence_interval(confidence)
    assert student(SCORES, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_bootstrap_is_scipys_but_for_what_resampling_leaves_to_chance():
    theirs = stats.bootstrap((SCORES,), np.mean, method="percentile", n_resamples=99_999, rng=1).confidence_interval
    # a percentile of 9,999 means is off by about sqrt(.025 * .975 / 9999) / density: 2 % of the interval's width
    assert bootstrap(SCORES) == pytest.approx(tuple(theirs), abs=0.02 * (theirs.high - theirs.low))
    assert bootstrap(SCORES) == bootstrap(SCORES)


def test_one_value_has_no_interval():
    assert all(isnan(end) for values in ([], [0.5]) for end in (*student(values), *bootstrap(values), *wider(values)))


@pytest.mark.parametrize(("draw", "least"), [("normal", 0.95), ("exponential", 0.88)])
@pytest.mark.parametrize("number", [3, 5])
def test_the_wider_interval_covers_the_true_mean_where_the_bootstrap_alone_does_not(draw, least, number):
    """Of 1,000 intervals 95 % hold the mean, to three standard errors (0.7 % each); fewer with skewed values, of which
    nothing of this size can be right (Hesterberg 2015, table 4).
    """
    random = np.random.default_rng(number)
    mean = {"normal": 0.0, "exponential": 1.0}[draw]
    samples = getattr(random, draw)(size=(1000, number))
    held = dict.fromkeys((wider, bootstrap), 0)
    for sample in samples:
        for method in held:
            low, high = method(sample)
            held[method] += low <= mean <= high
    assert held[wider] / 1000 >= least - 0.021
    assert held[bootstrap] / 1000 < 0.9


def test_the_p_value_is_that_of_scipys_paired_test():
    other = [0.90, 0.931, 0.903, 0.91, 0.93, 0.931, 0.905, 0.93]
    differences = [ours - theirs for ours, theirs in zip(SCORES, other, strict=True)]
    assert p_value(differences) == pytest.approx(stats.ttest_rel(SCORES, other).pvalue, rel=1e-9)


@pytest.mark.parametrize(("number", "expected"), [(1, 1.0), (3, 0.25), (6, 1 / 32)])
def test_differences_without_spread_are_judged_as_by_the_sign_test(number, expected):
    assert p_value([0.1 + 0.2] * number) == pytest.approx(expected)
    assert p_value([0.1] * number) == pytest.approx(stats.binomtest(number, number).pvalue)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_number_of_seeds_is_that_of_the_tables_of_power(effect, pairs):
    """Paired t test, two-sided, 5 %, power 80 %: what G*Power gives (Faul et al. 2007)."""
    assert seeds_needed(effect) == pairs


def test_so_many_seeds_find_the_difference_in_80_percent_of_simulations():
    number = seeds_needed(0.9)
    assert number is not None
    samples = np.random.default_rng(0).normal(0.9, 1.0, size=(4000, number))
    found = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert 0.8 - 0.02 < found < 0.8 + 0.04  # 0.6 % is one standard error; a whole seed is up to 4 %


@pytest.mark.parametrize("effect", [0.0, 1e-9])
def test_no_number_of_seeds_is_promised_for_no_difference(effect):
    assert seeds_needed(effect) is None


def test_enormous_effects_need_few_seeds():
    assert seeds_needed(1e300) == 2
    assert seeds_needed(1e300, 1 - 1e-7) < 10


def test_nothing_can_be_said_with_one_seed():
    none, one = verdicts([[], [3.0]], pairs=3)
    assert (none.seeds, one.seeds) == (0, 1)
    assert none.sign == one.sign == 0
    assert none.more is one.more is None
    assert one.mean == 3.0
    assert isnan(one.low)
    assert isnan(one.high)


def test_a_verdict_has_the_sign_of_the_difference_or_tells_how_many_seeds_might_settle_it():
    clear, opposite, open_ = verdicts([[1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0], [0.5, -0.3, 0.6, 0.1]], pairs=3)
    assert (clear.sign, opposite.sign, open_.sign) == (1, -1, 0)
    assert clear.more is opposite.more is None
    # held to 5 % times the share of all pairs that would then be rejected: all three
    effect = np.mean([0.5, -0.3, 0.6, 0.1]) / np.std([0.5, -0.3, 0.6, 0.1], ddof=1)
    assert open_.more == seeds_needed(effect, 0.95) - 4


def test_p_values_are_corrected_for_all_pairs_as_by_scipy():
    differences = [[1.0, 1.2, 0.9], [0.3, -0.1, 0.2], [0.5, 0.4, 0.55]]
    raw = [stats.ttest_1samp(each, 0.0).pvalue for each in differences]
    expected = stats.false_discovery_control([*raw, 1.0, 1.0, 1.0])[:3]
    assert [each.p for each in verdicts(differences, pairs=6)] == pytest.approx(expected)


def test_equal_configurations_are_told_apart_in_5_percent_of_sweeps_at_most():
    """Eight configurations that differ by chance alone, five seeds, the best chosen first: 300 sweeps, of which one
    standard error is 1.3 %. Without a correction the best leads another in nearly half.
    """
    random = np.random.default_rng(0)
    wrong = uncorrected = 0
    for _ in range(300):
        scores = random.normal(size=(8, 5))
        order = np.argsort(-scores.mean(axis=1))
        differences = [(scores[order[0]] - scores[other]).tolist() for other in order[1:]]
        wrong += any(each.sign for each in verdicts(differences, pairs=28))
        uncorrected += any(p_value(each) < 0.05 for each in differences)
    assert wrong / 300 <= 0.05 + 0.02
    assert uncorrected / 300 > 0.3
