"""Statistics of a few seeds, against textbook formulas, enumeration, published tables and simulations."""

from itertools import product
from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from dl_lab.analysis.statistics import bootstrap, p_value, seeds_needed, student, verdicts, wider

SCORES = [0.91, 0.935, 0.9, 0.922, 0.941, 0.93, 0.917, 0.944]


@pytest.mark.parametrize(("confidence", "quantile"), [(0.8, 1.415), (0.95, 2.365), (0.998, 4.785)])
def test_student_interval_agrees_with_the_table_of_t(confidence, quantile):
    """The quantiles of t with 7 degrees of freedom, to the four digits of any table."""
    reach = quantile * np.std(SCORES, ddof=1) / sqrt(len(SCORES))
    low, high = student(SCORES, confidence)
    assert (high - low) / 2 == pytest.approx(reach, rel=3e-4)
    assert (high + low) / 2 == pytest.approx(np.mean(SCORES))


def test_student_interval_of_equal_values_is_one_point():
    assert student([0.1 + 0.2, 0.3, 0.3]) == pytest.approx((0.3, 0.3))


def test_bootstrap_interval_agrees_with_the_enumeration_of_all_resamples():
    values = [0.2, 0.5, 0.9, 1.7, 2.0]
    means = np.mean(list(product(values, repeat=5)), axis=1)  # 3125 equally likely resamples
    expected = np.quantile(means, [0.025, 0.975])
    # a quantile of 9,999 means has a standard error of 1 % of the interval's width
    assert bootstrap(values) == pytest.approx(tuple(expected), abs=0.03 * np.ptp(expected))
    assert bootstrap(values) == bootstrap(values)


def test_one_value_has_no_interval():
    assert all(isnan(end) for values in ([], [0.5]) for end in (*student(values), *bootstrap(values), *wider(values)))


@pytest.mark.faults
@pytest.mark.parametrize(("draw", "least"), [("normal", 0.95), ("exponential", 0.88)])
@pytest.mark.parametrize("number", [3, 5])
def test_wider_interval_covers_the_true_mean_where_the_bootstrap_alone_does_not(draw, least, number):
    """95 % of the intervals contain the mean of a normal distribution, up to three standard errors of 1.5 % with 200
    samples. Fewer do for a skewed one: with so few values, no interval reaches 95 % (Hesterberg 2015, table 4).
    """
    random = np.random.default_rng(number)
    mean = {"normal": 0.0, "exponential": 1.0}[draw]
    covers = dict.fromkeys((wider, bootstrap), 0)
    for sample in getattr(random, draw)(size=(200, number)):
        for method in covers:
            low, high = method(sample)
            covers[method] += low <= mean <= high
    assert covers[wider] / 200 >= least - 0.046
    assert covers[bootstrap] / 200 < 0.9


def test_p_value_agrees_with_the_paired_test_of_scipy():
    other = [0.90, 0.931, 0.903, 0.91, 0.93, 0.931, 0.905, 0.93]
    differences = [ours - theirs for ours, theirs in zip(SCORES, other, strict=True)]
    assert p_value(differences) == pytest.approx(stats.ttest_rel(SCORES, other).pvalue, rel=1e-9)


@pytest.mark.parametrize(("number", "expected"), [(1, 1.0), (3, 0.25), (6, 1 / 32)])
def test_equal_differences_have_the_p_value_of_the_sign_test(number, expected):
    assert p_value([0.1 + 0.2] * number) == pytest.approx(expected)
    assert p_value([0.1] * number) == pytest.approx(stats.binomtest(number, number).pvalue)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_agrees_with_power_tables(effect, pairs):
    """The result of G*Power for a two-sided paired t test at 5 % with a power of 80 % (Faul et al. 2007)."""
    assert seeds_needed(effect) == pairs


def test_seeds_needed_detect_the_difference_in_80_percent_of_simulations():
    number = seeds_needed(0.9)
    assert number is not None
    samples = np.random.default_rng(0).normal(0.9, 1.0, size=(4000, number))
    found = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert 0.8 - 0.02 < found < 0.8 + 0.04  # a standard error is 0.6 %; rounding up to a whole seed adds up to 4 %


@pytest.mark.parametrize("effect", [0.0, 1e-9])
def test_no_number_of_seeds_detects_a_difference_of_zero(effect):
    assert seeds_needed(effect) is None


def test_huge_effects_need_few_seeds():
    assert seeds_needed(1e300) == 2
    assert seeds_needed(1e300, 1 - 1e-7) < 10


def test_fewer_than_two_common_seeds_give_no_verdict():
    none, one = verdicts([[], [3.0]], pairs=3)
    assert (none.seeds, one.seeds) == (0, 1)
    assert none.sign == one.sign == 0
    assert none.more is one.more is None
    assert one.mean == 3.0
    assert all(map(isnan, one.interval))


def test_a_verdict_has_a_sign_or_the_number_of_seeds_that_may_settle_it():
    clear, opposite, open_ = verdicts([[1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0], [0.5, -0.3, 0.6, 0.1]], pairs=3)
    assert (clear.sign, opposite.sign, open_.sign) == (1, -1, 0)
    assert clear.more is opposite.more is None
    # the threshold of Benjamini & Hochberg if all three pairs were significant: 5 %
    effect = np.mean([0.5, -0.3, 0.6, 0.1]) / np.std([0.5, -0.3, 0.6, 0.1], ddof=1)
    assert open_.more == seeds_needed(effect, 0.95) - 4


def test_p_values_are_corrected_for_all_pairs():
    differences = [[1.0, 1.2, 0.9], [0.3, -0.1, 0.2], [0.5, 0.4, 0.55]]
    raw = [stats.ttest_1samp(each, 0.0).pvalue for each in differences]
    expected = stats.false_discovery_control([*raw, 1.0, 1.0, 1.0])[:3]
    assert [each.p for each in verdicts(differences, pairs=6)] == pytest.approx(expected)


def test_a_verdict_follows_from_its_interval_and_from_the_corrected_p_value():
    """Of 100 comparisons with random effects, which are significant in 3 of 10 cases."""
    random = np.random.default_rng(0)
    seen = {-1: 0, 0: 0, 1: 0}
    for _ in range(100):
        others, seeds = random.integers(1, 6), random.integers(2, 7)
        effects = random.normal(0, 2, size=(others, 1))
        differences = (effects + random.normal(size=(others, seeds))).round(random.integers(0, 3)).tolist()
        overlap = float(random.choice([0.0, 0.25]))
        judged = verdicts(
            differences, pairs=others * (others + 1) // 2, overlaps=[overlap] * others, bounds=(-1.5, 1.5)
        )
        for each in judged:
            low, high = each.interval
            seen[each.sign] += 1
            assert each.sign == (low > 0) - (high < 0)
            assert (each.sign != 0) == (each.p <= 0.05)
            assert isnan(low) or -1.5 <= low <= high <= 1.5
    assert min(seen.values()) > 20


@pytest.mark.parametrize(("pairs", "significant"), [(1, 1), (3, 1), (3, 2), (10, 0), (10, 2)])
def test_intervals_have_the_confidence_of_benjamini_and_yekutieli(pairs, significant):
    """1 - 5 % * R / pairs, where R differences are significant, and at least 1."""
    clear, open_ = [1.0, 1.001, 0.999, 1.0005, 1.0002], [0.5, -0.3, 0.6, 0.1, -0.1]
    judged = verdicts([clear] * significant + [open_], pairs)
    assert [each.sign for each in judged] == [1] * significant + [0]
    level = 0.95 if pairs == significant else 1 - 0.05 * max(significant, 1) / pairs
    assert judged[-1].interval == pytest.approx(student(open_, level))


@pytest.mark.parametrize(("number", "interval"), [(5, None), (6, (0.1, 0.1))])
def test_equal_differences_are_a_point_if_the_sign_test_rejects_and_unknown_otherwise(number, interval):
    (verdict,) = verdicts([[0.1] * number], pairs=1)
    assert verdict.sign == (interval is not None)
    assert verdict.interval == pytest.approx(interval or (float("nan"),) * 2, nan_ok=True)


@pytest.mark.faults
def test_at_most_5_percent_of_sweeps_distinguish_equal_configurations():
    """300 sweeps of eight configurations that differ only by chance, with five seeds; one standard error is 1.3 %.
    Without a correction, the best configuration beats another in nearly half of them.
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


@pytest.mark.parametrize(("folds", "seeds"), [(5, 1), (10, 10), (2, 5)])
def test_overlap_gives_the_corrected_resampled_t_test(folds, seeds):
    """The variance of the mean is 1 / n + n_test / n_train times that of a score (Nadeau & Bengio 2003)."""
    scores = np.random.default_rng(0).normal(0.3, 1, folds * seeds)
    error = np.std(scores, ddof=1) * sqrt(1 / len(scores) + (1 / folds) / (1 - 1 / folds))
    reach = stats.t.ppf(0.975, len(scores) - 1) * error
    overlap = 1 / (folds - 1)
    assert student(scores, overlap=overlap) == pytest.approx((scores.mean() - reach, scores.mean() + reach))
    low, high = wider(scores, overlap=overlap)
    assert high - low >= 2 * reach * (1 - 1e-12)
    expected = 2 * stats.t.sf(abs(scores.mean() / error), len(scores) - 1)
    assert p_value(scores, overlap) == pytest.approx(expected)


def test_equal_differences_of_folds_count_as_fewer_independent_ones():
    assert p_value([0.1] * 5, 1 / 4) == pytest.approx(2 ** (1 - 1 / (1 / 5 + 1 / 4)))
    assert p_value([0.1, 0.1], 1.0) == 1


@pytest.mark.faults
def test_seeds_needed_with_overlap_detect_the_difference_in_80_percent_of_simulations():
    """Scores with the correlation that the correction assumes: n_test / (n_test + n_train)."""
    needed, overlap = seeds_needed(1.5, overlap=0.1), 0.1
    shared, own = sqrt(overlap / (1 + overlap)), sqrt(1 / (1 + overlap))
    random = np.random.default_rng(0)
    found = 1.5 * own + shared * random.normal(size=(1000, 1)) + own * random.normal(size=(1000, needed))
    detected = np.mean([p_value(each, overlap) < 0.05 for each in found])
    assert detected == pytest.approx(0.8, abs=0.05)  # the number is whole: one more changes the power by 4 %
    assert seeds_needed(0.5, overlap=0.25) is None  # no number of runs makes up for the rows that are missing


def test_equal_models_differ_too_often_by_folds_unless_corrected():
    """Two models of the same expected error, y from either of two exchangeable features, in 300 cross-validations of
    five folds and four seeds. Three standard errors of a rejection rate of 5 % are 3.8 %.
    """
    random, rows, rejected = np.random.default_rng(0), 60, np.zeros(2)
    for _ in range(300):
        x = random.normal(size=(2, rows))
        y = x.sum(axis=0) + random.normal(size=rows)
        differences = []
        for order in (random.permutation(rows) for _ in range(4)):
            for held in np.array_split(order, 5):
                kept = np.setdiff1d(order, held)
                slopes = (x[:, kept] @ y[kept]) / (x[:, kept] ** 2).sum(axis=1)
                errors = ((y[held] - slopes[:, None] * x[:, held]) ** 2).mean(axis=1)
                differences.append(errors[0] - errors[1])
        rejected += [p_value(differences, overlap) < 0.05 for overlap in (0.0, 1 / 4)]
    assert rejected[0] / 300 > 0.3
    assert rejected[1] / 300 < 0.05 + 0.038
