"""95 % intervals of scores and gains, from the variation over seeds and the size of the test set. Pure.

Two things make a test score uncertain: another seed would train another model, and other test examples
would have been easier or harder. Both are counted, each with its own degrees of freedom, combined by the
Welch-Satterthwaite approximation (Satterthwaite 1946, Biometrics Bulletin 2). A score whose uncertainty
neither source reveals has no interval: one of width 0 would claim that nothing is uncertain.

On small test sets the examples dominate: 37 images, all correct, prove an accuracy of 0.905 and no more,
however many seeds agree.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainables.core.contract import MetricScale

CONFIDENCE = 0.95
SEEDS, EXAMPLES = "seeds", "examples"
_ROUNDING = 1e-12  # relative: scores that differ by less are equal


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval; the ends are None if its uncertainty is unknown.

    Attributes:
        counts: Sources of uncertainty in the interval: "seeds", "examples", both, or none.
        is_paired: Whether a gain was computed example by example, both scored on the same examples.
        reason: Why there is no interval; empty if there is one.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    counts: tuple[str, ...] = ()
    is_paired: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of the trainings of one configuration on one set.

    Attributes:
        by_seed: The metric of each finished training.
        num_examples: Size of the set; None if it is unknown.
        by_example: For each seed, the scores of the examples, whose mean is the metric; empty if the
            trainings did not write them.
    """

    by_seed: Mapping[int, float] = field(default_factory=dict)
    num_examples: int | None = None
    by_example: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Part:
    """The variance of a mean that comes from one source, with its degrees of freedom."""

    variance: float
    freedom: float


def score_interval(
    values: Sequence[float],
    scale: MetricScale,
    num_examples: int | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of `values`, one for each seed, with its interval within the metric's range.

    Args:
        values: At least one value.
        num_examples: Size of the set that all of them were scored on; None if it is unknown.
    """
    if scale.kind == "mean" and num_examples and scale.low is not None and scale.high is not None:
        return _of_a_mean(values, scale.low, scale.high, num_examples, confidence)
    if scale.kind in _CORRELATION_VARIANCE and num_examples and num_examples > _LEAST_FOR_CORRELATION:
        return correlation_interval(values, num_examples, scale.kind, confidence=confidence)
    return _of_seeds(values, scale.low, scale.high, confidence)


def gain_interval(
    ours: Scores, its: Scores, scale: MetricScale, *, sign: int, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return by how much `ours` is better than `its`, paired by seed; None if they share no seed.

    Both are scored on the same examples. If the trainings wrote the score of each example, the gain is
    paired by example too; else the two sets count as independent (Zou and Donner 2008, Statistics in
    Medicine 27: limits of a difference from those of its terms), which makes the interval wider, because
    scores on the same examples rise and fall together.

    Args:
        sign: 1 if larger is better, -1 if smaller is.
    """
    seeds = [seed for seed in ours.by_seed if seed in its.by_seed]
    if not seeds:
        return None
    # Pairing by seed cancels the effect that order and initial weights have on both.
    gains = [sign * (ours.by_seed[seed] - its.by_seed[seed]) for seed in seeds]
    width = None if scale.low is None or scale.high is None else scale.high - scale.low
    if width and (differences := _by_example(ours, its, seeds, sign)):
        return _of_paired(gains, differences, width, confidence)
    sides = [
        score_interval(
            [statistics.fmean(scores.by_seed[seed] for seed in seeds)],
            scale,
            scores.num_examples,
            confidence=confidence,
        )
        for scores in (ours, its)
    ]
    if all(side.low is not None for side in sides):
        return _of_two(gains, sides[::sign], width, confidence)
    return _of_seeds(gains, None if width is None else -width, width, confidence)


def correlation_interval(
    values: Sequence[float], num_examples: int, kind: str, *, confidence: float = CONFIDENCE
) -> Interval:
    """Return the mean of correlations with its interval by Fisher's z, which lies in [-1, 1].

    The variance of z over examples is (1 + r²/2) / (n - 3) for Spearman's (Bonett and Wright 2000,
    Psychometrika 65), 1 / (n - 3) for Pearson's, and 0.437 / (n - 4) for Kendall's (Fieller). A perfect
    correlation, whose z is infinite, counts as one that is half a swap of neighbouring ranks away:
    1 - 6 / (n³ - n).

    Args:
        values: One correlation for each seed, at least one.
        num_examples: At least 5.
    """
    most = 1 - 6 / (num_examples**3 - num_examples)
    mean = statistics.fmean(values)
    positions = [math.atanh(min(most, max(-most, value))) for value in values]
    centre = statistics.fmean(positions)
    examples = _Part(_CORRELATION_VARIANCE[kind](math.tanh(centre), num_examples), math.inf)
    reach = _reach([*_seed_parts(positions), examples], confidence)
    low = -1.0 if mean <= -most else math.tanh(centre - reach)
    high = 1.0 if mean >= most else math.tanh(centre + reach)
    return Interval(mean=mean, low=min(low, mean), high=max(high, mean), counts=_counts(values))


_LEAST_FOR_CORRELATION = 4  # examples; with no more, Kendall's variance of z is undefined
_CORRELATION_VARIANCE = {
    "spearman": lambda value, num: (1 + value**2 / 2) / (num - 3),
    "pearson": lambda value, num: 1 / (num - 3),
    "kendall": lambda value, num: 0.437 / (num - 4),
}


def _of_a_mean(values: Sequence[float], low: float, high: float, num: int, confidence: float) -> Interval:
    """Return the Clopper-Pearson interval of a fraction with an effective number of examples.

    That number reflects seeds and examples together: Korn and Graubard (1998), Survey Methodology 24. The
    interval never has width 0, and is not too narrow for values between the ends either, whose variance is at
    most that of a fraction with their mean (Bhatia and Davis 2000).
    """
    from scipy.special import betaincinv  # 0.2 s to import, and only the end of a run needs it

    mean = statistics.fmean(values)
    share = min(1.0, max(0.0, (mean - low) / (high - low)))
    examples = _Part(share * (1 - share) / num, max(num - 1, 1))
    parts = [*_seed_parts([value / (high - low) for value in values]), examples]
    # The number of examples that alone would leave the mean as uncertain as examples and seeds together do.
    # It stays n if every example is right or every one wrong, because their estimated variance is 0.
    worth = float(num)
    if examples.variance:
        worth = share * (1 - share) / sum(part.variance for part in parts)
        worth *= (_quantile(confidence, examples.freedom) / _quantile(confidence, _freedom(parts))) ** 2
    right, wrong, tail = share * worth, (1 - share) * worth, (1 - confidence) / 2
    ends = (
        float(betaincinv(right, wrong + 1, tail)) if right else 0.0,
        float(betaincinv(right + 1, wrong, 1 - tail)) if wrong else 1.0,
    )
    least, most = (low + end * (high - low) for end in ends)
    return Interval(mean=mean, low=min(least, mean), high=max(most, mean), counts=_counts(values))


def _of_seeds(values: Sequence[float], low: float | None, high: float | None, confidence: float) -> Interval:
    """Return Student's interval over seeds, cut to the range: all that is known without the set's size."""
    mean = statistics.fmean(values)
    parts = _seed_parts(values)
    if not parts:
        return Interval(mean=mean, reason="one seed, and what the test set adds is unknown")
    if _are_equal(values):
        reason = f"{len(values)} equal seeds, and what the test set adds is unknown"
        return Interval(mean=mean, reason=reason)
    reach = _reach(parts, confidence)
    least = mean - reach if low is None else max(low, mean - reach)
    most = mean + reach if high is None else min(high, mean + reach)
    return Interval(mean=mean, low=least, high=most, counts=(SEEDS,))


def _of_paired(
    gains: Sequence[float], differences: Sequence[float], width: float, confidence: float
) -> Interval:
    """Return the interval of a gain from the gain on each example, averaged over seeds.

    Two examples are added, one of them even and the other half won and half lost: Agresti and Min (2005),
    Statistics in Medicine 24. This gives the interval a width even if all examples agree.
    """
    num = len(differences) + 2  # the added ones are in the sum of squares as width², and cancel in the mean
    mean = sum(differences) / num
    variance = (sum(each**2 for each in differences) + width**2) / num - mean**2
    parts = [*_seed_parts(gains), _Part(variance / num, num - 3 or 1)]
    reach, gain = _reach(parts, confidence), statistics.fmean(gains)
    low, high = max(-width, mean - reach), min(width, mean + reach)
    return Interval(
        mean=gain, low=min(low, gain), high=max(high, gain), counts=_counts(gains), is_paired=True
    )


def _of_two(
    gains: Sequence[float], sides: Sequence[Interval], width: float | None, confidence: float
) -> Interval:
    """Return the interval of a gain from those of the larger and the smaller score, and from its seeds."""
    (more, less), gain = sides, statistics.fmean(gains)
    assert more.low is not None
    assert more.high is not None
    assert less.low is not None
    assert less.high is not None
    parts = _seed_parts(gains)
    seeds = _reach(parts, confidence) if parts else 0.0
    # The sides add in squares: a lower limit takes the lower side of `more` and the upper side of `less`.
    low = gain - math.hypot(more.mean - more.low, less.high - less.mean, seeds)
    high = gain + math.hypot(more.high - more.mean, less.mean - less.low, seeds)
    if width is not None:
        low, high = max(-width, low), min(width, high)
    return Interval(mean=gain, low=low, high=high, counts=_counts(gains))


def _by_example(ours: Scores, its: Scores, seeds: Sequence[int], sign: int) -> list[float]:
    """Return the mean gain over seeds on each example; empty if examples are unknown or differ."""
    pairs = [(ours.by_example.get(seed, {}), its.by_example.get(seed, {})) for seed in seeds]
    names = set(pairs[0][0])
    if not all(set(values) == names for pair in pairs for values in pair):
        return []
    return [sign * statistics.fmean(mine[name] - other[name] for mine, other in pairs) for name in names]


def _seed_parts(values: Sequence[float]) -> list[_Part]:
    """Return the variance of the mean that comes from seeds; empty for a single one, which tells nothing."""
    if len(values) < 2:
        return []
    spread = 0.0 if _are_equal(values) else statistics.variance(values)
    return [_Part(spread / len(values), len(values) - 1)]


def _are_equal(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= _ROUNDING * max(1.0, *map(abs, values))


def _counts(values: Sequence[float]) -> tuple[str, ...]:
    return (SEEDS, EXAMPLES) if len(values) > 1 else (EXAMPLES,)


def _reach(parts: Sequence[_Part], confidence: float) -> float:
    """Return half the width of the interval of a mean whose variance is the sum of `parts`."""
    return _quantile(confidence, _freedom(parts)) * math.sqrt(sum(part.variance for part in parts))


def _freedom(parts: Sequence[_Part]) -> float:
    """Return the Welch-Satterthwaite degrees of freedom of a sum of variances."""
    total = sum(part.variance for part in parts)
    weight = sum(part.variance**2 / part.freedom for part in parts)
    return math.inf if weight == 0 else total**2 / weight


def _quantile(confidence: float, freedom: float) -> float:
    """Return Student's quantile, or the normal's if the degrees of freedom are infinite."""
    from scipy.special import stdtrit  # 0.2 s to import, where scipy.stats takes a second longer

    return float(stdtrit(freedom, (1 + confidence) / 2))
