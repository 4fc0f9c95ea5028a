"""Intervals of scores and gains: in range, by seeds and by the test set's size, never of width 0."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.intervals import Scores, gain_interval, score_interval
from trainables.core.contract import FRACTION, LOSS, MEAN_FRACTION, UNKNOWN_SCALE, MetricScale

SPEARMAN = MetricScale(low=-1.0, high=1.0, kind="spearman")
PEARSON = MetricScale(low=-1.0, high=1.0, kind="pearson")
KENDALL = MetricScale(low=-1.0, high=1.0, kind="kendall")


def ends(interval) -> tuple[float, float]:
    return pytest.approx((interval.low, interval.high), abs=1e-6)


@pytest.mark.parametrize(("right", "num"), [(37, 37), (0, 37), (20, 40), (1, 5), (1, 1)])
def test_one_seed_of_accuracy_has_the_exact_binomial_interval_of_its_images(right: int, num: int) -> None:
    exact = stats.binomtest(right, num).proportion_ci()
    found = score_interval([right / num], MEAN_FRACTION, num)
    assert (exact.low, exact.high) == ends(found)
    assert found.counts == ("examples",)


def test_two_seeds_that_agree_leave_the_width_of_the_test_set() -> None:
    found = score_interval([1.0, 1.0], MEAN_FRACTION, 37)
    assert ends(found) == (0.905109, 1.0)
    assert found.counts == ("seeds", "examples")


def test_seeds_and_images_count_together_as_korn_and_graubard_have_it() -> None:
    # worth 13.913 images at 5.373 degrees of freedom; by scipy's beta and t
    found = score_interval([0.9, 0.8], MEAN_FRACTION, 37)
    assert ends(found) == (0.562400, 0.980000)
    alone = score_interval([0.85], MEAN_FRACTION, 37)
    assert found.low is not None
    assert alone.low is not None
    assert found.low < alone.low


def test_a_scale_from_0_to_100_has_the_same_interval_in_its_units() -> None:
    percent = MetricScale(low=0.0, high=100.0, kind="mean")
    share, found = score_interval([0.9, 0.8], MEAN_FRACTION, 37), score_interval([90.0, 80.0], percent, 37)
    assert share.low is not None
    assert share.high is not None
    assert (100 * share.low, 100 * share.high) == ends(found)


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [(SPEARMAN, 0.276057, 0.801533), (PEARSON, 0.305842, 0.789590), (KENDALL, 0.412856, 0.738534)],
)
def test_a_correlation_goes_by_fishers_z(scale: MetricScale, low: float, high: float) -> None:
    assert (low, high) == ends(score_interval([0.6], scale, 30))


def test_seeds_of_a_correlation_count_on_the_scale_of_z() -> None:
    assert ends(score_interval([0.9, 0.95, 0.92], SPEARMAN, 50)) == (0.837522, 0.967344)


@pytest.mark.parametrize(("num", "low"), [(5, 0.160805), (8, 0.903274), (20, 0.997594)])
def test_a_perfect_correlation_of_a_few_proves_little(num: int, low: float) -> None:
    assert (low, 1.0) == ends(score_interval([1.0], SPEARMAN, num))
    assert (-1.0, -low) == ends(score_interval([-1.0], SPEARMAN, num))


def test_without_the_sets_size_the_interval_is_students_over_seeds() -> None:
    # mean 2, standard deviation 1, n 3: half-width 4.302653 / sqrt(3)
    found = score_interval([1.0, 2.0, 3.0], UNKNOWN_SCALE)
    assert ends(found) == (2 - 2.484138, 2 + 2.484138)
    assert found.counts == ("seeds",)


def test_students_interval_ends_where_the_metric_does() -> None:
    assert ends(score_interval([0.2, 0.9], FRACTION)) == (0.0, 1.0)
    found = score_interval([0.1, 0.9], LOSS)
    assert found.low == 0.0
    assert found.high == pytest.approx(0.5 + 12.706205 * 0.4, abs=1e-5)  # a loss has no upper end


@pytest.mark.parametrize("scale", [UNKNOWN_SCALE, FRACTION, LOSS])
def test_equal_seeds_and_nothing_else_have_no_interval_and_say_why(scale: MetricScale) -> None:
    found = score_interval([0.7, 0.7, 0.7 + 1e-15], scale, 37)
    assert (found.low, found.high, found.counts) == (None, None, ())
    assert found.reason == "3 equal seeds, and what the test set adds is unknown"
    assert score_interval([0.7], scale).reason == "one seed, and what the test set adds is unknown"


SCORES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5)


@given(SCORES, st.integers(1, 2000), st.sampled_from([MEAN_FRACTION, FRACTION, SPEARMAN, PEARSON, KENDALL]))
def test_an_interval_holds_its_mean_lies_in_the_range_and_has_a_width(
    values: list[float], num: int, scale: MetricScale
) -> None:
    found = score_interval(values, scale, num)
    if found.low is None or found.high is None:
        assert found.reason
        return
    assert scale.low is not None
    assert scale.high is not None
    assert scale.low <= found.low <= found.mean <= found.high <= scale.high
    assert found.low < found.high


def scored(*rights: set[int], num: int, is_kept: bool = True) -> Scores:
    """Accuracies of one seed after the other, by the numbers of the images that it got right."""
    examples = {
        seed: {str(number): float(number in right) for number in range(num)}
        for seed, right in enumerate(rights)
    }
    values = {seed: len(right) / num for seed, right in enumerate(rights)}
    return Scores(by_seed=values, num_examples=num, by_example=examples if is_kept else {})


def test_a_gain_on_the_same_images_is_paired_as_agresti_and_min_have_it() -> None:
    # 10 of 100 images are won and 4 lost; Student's quantile of 99 degrees of freedom
    ours, its = scored(set(range(84)), num=100), scored({*range(74), *range(90, 94)}, num=100)
    found = gain_interval(ours, its, MEAN_FRACTION, sign=1)
    assert found
    assert (found.mean, found.counts, found.is_paired) == (pytest.approx(0.06), ("examples",), True)
    assert ends(found) == (-0.015626, 0.133273)


def test_seeds_widen_a_paired_gain() -> None:
    ours = scored(set(range(83)), set(range(85)), num=100)
    its = scored({*range(74), *range(90, 94)}, {*range(74), *range(90, 94)}, num=100)
    found = gain_interval(ours, its, MEAN_FRACTION, sign=1)
    one = gain_interval(
        scored(set(range(84)), num=100), scored(set(range(78)), num=100), MEAN_FRACTION, sign=1
    )
    assert found
    assert one
    assert found.counts == ("seeds", "examples")
    differences = [0.0] * 74 + [1.0] * 9 + [0.5] + [0.5] + [0.0] * 5 + [-1.0] * 4 + [0.0] * 6
    mean = sum(differences) / 102
    examples = ((sum(each**2 for each in differences) + 1) / 102 - mean**2) / 102
    seeds = stats.tvar([0.05, 0.07]) / 2
    freedom = (seeds + examples) ** 2 / (seeds**2 / 1 + examples**2 / 99)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(seeds + examples)
    assert (mean - reach, mean + reach) == ends(found)


def test_two_that_agree_on_every_image_are_not_proved_equal() -> None:
    same = scored({1, 2, 3}, {1, 2, 3}, num=10)
    found = gain_interval(same, same, MEAN_FRACTION, sign=1)
    assert found
    assert found.mean == 0.0
    assert ends(found) == (-0.188513, 0.188513)


def test_without_each_images_outcome_the_sets_count_as_independent() -> None:
    ours, its = (scored(set(range(right)), num=100, is_kept=False) for right in (90, 80))
    found = gain_interval(ours, its, MEAN_FRACTION, sign=1)
    assert found
    assert (found.mean, found.is_paired) == (pytest.approx(0.1), False)
    assert ends(found) == (-0.005779, 0.205050)
    less_is_better = gain_interval(ours, its, MEAN_FRACTION, sign=-1)
    assert less_is_better
    assert ends(less_is_better) == (-0.205050, 0.005779)


def test_other_images_are_not_paired() -> None:
    ours = scored(set(range(9)), num=10)
    other = {0: {f"other {number}": 1.0 for number in range(10)}}
    found = gain_interval(
        ours, Scores(by_seed={0: 1.0}, num_examples=10, by_example=other), MEAN_FRACTION, sign=1
    )
    assert found
    assert not found.is_paired


def test_a_gain_in_a_metric_of_unknown_kind_is_students_over_paired_seeds() -> None:
    ours, its = Scores(by_seed={1: 2.0, 2: 4.0, 3: 6.0, 9: 7.0}), Scores(by_seed={1: 1.0, 2: 2.0, 3: 3.0})
    found = gain_interval(ours, its, UNKNOWN_SCALE, sign=1)
    assert found
    assert ends(found) == (2 - 2.484138, 2 + 2.484138)
    assert gain_interval(ours, Scores(by_seed={7: 1.0}), UNKNOWN_SCALE, sign=1) is None


@given(st.integers(1, 60), st.data())
def test_a_gain_holds_its_mean_and_lies_in_its_range(num: int, data: st.DataObject) -> None:
    rights = st.sets(st.integers(0, num - 1))
    num_seeds = data.draw(st.integers(1, 3))
    is_kept = data.draw(st.booleans())
    ours, its = (
        scored(*(data.draw(rights) for _ in range(num_seeds)), num=num, is_kept=is_kept) for _ in range(2)
    )
    found = gain_interval(ours, its, MEAN_FRACTION, sign=data.draw(st.sampled_from([1, -1])))
    assert found
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high
