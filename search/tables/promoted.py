"""The rows of promoted.csv: each promoted configuration over its seeds, against the default and guessing.

Three columns answer the question of a search. `gain_mean` is how much better the configuration is than the
default, with the same seeds and on the same test examples. `gain_low` to `gain_high` is how sure that is. And
`conclusion` puts both into a word, for which the score has to beat guessing first.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search.energy.reading import whole_mj
from search.energy.units import to_joules
from search.energy.usable import NO_SENSOR
from search.guessing import NO_BETTER, is_better_than_guessing, scored_set
from search.intervals import Interval, Scores, gain_interval, score_interval
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.space import Space
from search.tables.columns import Table, column_names, hparams_apart, hparams_group, plain
from search.tables.energy_columns import TrialEnergyRow

UNTESTED = ", on validation"
# The hparams of a baseline that its row shows: the network whose features it was computed on. No trial has
# the others (the C of an SVM), which would be columns with one value.
_BACKBONE = {"model", "weights"}
_SAME_SCORE = 1e-5  # the metric is a sum in fp32, the scores of examples are written exactly
# The rows are computed together (a gain needs the default's scores, a conclusion all columns before it), so
# the columns only pick from them.
PROMOTED_TABLE: Table[Mapping[str, Any]] = [
    plain("rank", "", "by `val_mean`"),
    plain(
        "trial_id",
        "",
        ("the trial of the search, or a baseline's trainable: one training with its defaults, on the CPU"),
    ),
    plain("is_default", "", "whether it is the default configuration, which the others are compared with"),
    plain("num_seeds", "", "trainings that finished with a score"),
    plain("num_failed", "", "trainings that did not"),
    plain("val_mean", "the metric's", "mean over seeds on validation, after the last epoch"),
    plain("test_mean", "the metric's", "mean over seeds on the test set; empty without one"),
    plain("test_low", "the metric's", "lower end of the 95 % interval of the mean"),
    plain("test_high", "the metric's", "upper end"),
    plain(
        "test_interval",
        "",
        (
            "what the interval counts: `seeds+examples`, `examples` (one seed: the spread over seeds is "
            "not included), `seeds`; or `none: ` and the reason"
        ),
    ),
    plain(
        "num_examples",
        "examples",
        ("size of the test set, or of the validation set if there is no test set; empty if not reported"),
    ),
    plain(
        "guessing",
        "the metric's",
        (
            "the score of guessing on that set: the share of the commonest class for accuracy, 0 for a "
            "correlation; empty if unknown"
        ),
    ),
    plain(
        "gain_mean",
        "the metric's",
        (
            "test score minus the default's, paired by seed, with the sign reversed if less is better; on "
            "validation if there is no test set"
        ),
    ),
    plain("gain_low", "the metric's", "lower end of the 95 % interval of the mean gain"),
    plain("gain_high", "the metric's", "upper end"),
    plain("gain_interval", "", "as `test_interval`, then `, paired` if examples are paired"),
    plain(
        "conclusion",
        "",
        (
            "`no better than guessing` (`guessing` is in the interval of the score, or beyond "
            "it), `better`, `worse`, `tie` (0 is in the interval of the gain), `one seed`, or `no"
            " interval`; without a test set, then `, on validation`, which favours configurations "
            "that were chosen by it"
        ),
    ),
    plain("seconds", "s", "all trainings together, without their starts"),
    plain(
        "energy_j",
        "J",
        "all trainings together, without their starts; empty if that of any training is unknown",
    ),
    plain("energy_reason", "", "why `energy_j` is empty"),
    hparams_group(lambda row: {name: value for name, value in row.items() if name not in PROMOTED_COLUMNS}),
]
PROMOTED_COLUMNS: tuple[str, ...] = column_names(PROMOTED_TABLE)
ExamplesOf = Callable[[TrialRecord], Iterable[Mapping[str, str]]]


def _no_examples(run: TrialRecord) -> Iterable[Mapping[str, str]]:
    return ()


def promoted_columns(trials: Sequence[TrialRecord]) -> list[str]:
    """The columns of promoted.csv: its own, then each hyperparameter of any trial."""
    hparams = [name for trial in trials for name in hparams_apart(trial.hparams, PROMOTED_COLUMNS)]
    return list(dict.fromkeys((*PROMOTED_COLUMNS, *hparams)))


def promoted_rows(
    trials: Sequence[TrialRecord],
    promotion: History,
    space: Space,
    baselines: Sequence[tuple[History, ExamplesOf]] = (),
    *,
    examples: ExamplesOf = _no_examples,
) -> list[dict[str, Any]]:
    """The rows of promoted.csv: each configuration over its seeds, the best on validation first.

    The order is by validation: ordering by test would choose on the test set.

    Args:
        baselines: The runs of baselines, each with what its test examples contributed; their rows have the
            names of their trainables.
        examples: What each test example contributed to the score of a training of `promotion`.
    """
    promoted = _Promoted(promotion, space, examples)
    default = next((trial.trial_id for trial in trials if trial.proposed_by == "default"), None)
    defaults = promoted.scores(default) if default else Scores()
    rows = [
        {
            **_row(trial.trial_id, promoted, default, defaults),
            **hparams_apart(trial.hparams, PROMOTED_COLUMNS),
        }
        for trial in trials
    ]
    known = {name for trial in trials for name in trial.hparams} & _BACKBONE
    for baseline, its_examples in baselines:
        other = _Promoted(baseline, space, its_examples)
        for name, run in {run.parent_trial: run for run in baseline.trials.values()}.items():
            backbone = {each: run.hparams[each] for each in known & run.hparams.keys()}
            rows.append({**_row(name, other, default, defaults), **backbone})
    rows.sort(key=lambda row: math.inf if row["val_mean"] is None else -_sign(space) * row["val_mean"])
    return [{"rank": rank, **row} for rank, row in enumerate(rows, start=1)]


def winner_of(rows: Sequence[Mapping[str, Any]], promotion: History) -> Mapping[str, Any] | None:
    """Return the row of the best searched configuration on validation, among those with a finished training.

    Baselines do not count: they rank in the table, but are no result of the search.

    Args:
        rows: The rows of promoted.csv, the best on validation first.
    """
    sources = {run.parent_trial for run in promotion.trials.values()}
    return next((row for row in rows if row["trial_id"] in sources and row["num_seeds"]), None)


def examples_in(ledger: Ledger) -> ExamplesOf:
    """Return a reader of what each test example contributed, from the folders of a promotion's trainings."""

    def examples(run: TrialRecord) -> list[dict[str, str]]:
        path = ledger.trial_folder(run.trial_id) / "examples.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return examples


def conclusion(gain: Interval, num_seeds: int) -> str:
    """The conclusion from a gain: "better", "worse", or "tie" if 0 lies in its interval.

    One seed can show a tie, since more seeds only widen the interval, but not a gain: that is "one seed". If
    the uncertainty of the gain is unknown, it is "no interval".
    """
    if gain.low is None or gain.high is None:
        return "one seed" if num_seeds == 1 else "no interval"
    if gain.low <= 0 <= gain.high:
        return "tie"
    if num_seeds == 1:
        return "one seed"
    return "better" if gain.mean > 0 else "worse"


@dataclass(frozen=True)
class _Promoted:
    """A promotion's history read for its table.

    Attributes:
        examples: Returns the rows of examples.csv of a training.
    """

    history: History
    space: Space
    examples: ExamplesOf

    @cached_property
    def has_test(self) -> bool:
        """Whether there is a test set; if there is, every training that ends well has a score on it."""
        finished = [run for run in self.history.trials.values() if run.status == "finished"]
        return not finished or any(run.rows[-1].test for run in finished)

    @cached_property
    def metric(self) -> str:
        """The metric that configurations are compared by; on validation if there is no test set."""
        return self.space.metric.replace("val_", "test_", 1) if self.has_test else self.space.metric

    def trainings(self, source: str) -> list[TrialRecord]:
        """The full trainings of one configuration, failed ones included."""
        return [run for run in self.history.trials.values() if run.parent_trial == source]

    def value(self, run: TrialRecord, name: str) -> float | None:
        """A metric of the last epoch on the compared set; None if it is not reported there."""
        return (run.rows[-1].test or {}).get(name) if self.has_test else run.value(name)

    def scored(self, source: str) -> list[TrialRecord]:
        """The trainings that ended well, with a score on the compared set."""
        finished = (run for run in self.trainings(source) if run.status == "finished" and run.rows)
        return [run for run in finished if self.value(run, self.metric) is not None]

    def scores(self, source: str) -> Scores:
        """The scores of one configuration by seed, with those of each test example if they were kept.

        The number of examples is used only if all seeds agree on it: a set that changed between trainings has
        no size.
        """
        runs = self.scored(source)
        values = {run.seed: value for run in runs if (value := self.value(run, self.metric)) is not None}
        counts = {self.scored_set(run)[1] for run in runs}
        return Scores(
            by_seed=values,
            num_examples=counts.pop() if len(counts) == 1 else None,
            by_example={run.seed: self._by_example(run, values[run.seed]) for run in runs},
        )

    def scored_set(self, run: TrialRecord) -> tuple[float | None, int | None]:
        """The score of guessing on the compared set, and the number of its examples; None if unknown."""
        return scored_set(self.space, lambda name: self.value(run, name), self.metric)

    def _by_example(self, run: TrialRecord, score: float) -> Mapping[str, float]:
        """The score of each test example by its name; empty if their mean is not the score.

        In that case the file has another metric of that name (accuracy per example beside a macro F1 over
        classes), and pairing by it would give a narrow interval around the wrong number.
        """
        if not self.has_test:
            return {}
        name = self.metric.removeprefix("test_")
        found = {row["example"]: float(row[name]) for row in self.examples(run) if row.get(name)}
        is_its = found and math.isclose(statistics.fmean(found.values()), score, abs_tol=_SAME_SCORE)
        return found if is_its else {}


def _row(source: str, promoted: _Promoted, default: str | None, defaults: Scores) -> dict[str, Any]:
    """One configuration over its seeds.

    Args:
        source: The trial of the search, or the trainable of a baseline.
        default: The default's trial; None if it was not promoted, and then there are no gains.
        defaults: The default's scores.
    """
    runs, done = promoted.trainings(source), promoted.scored(source)
    space, scores = promoted.space, promoted.scores(source)
    values = [value for run in done if (value := run.value(space.metric)) is not None]
    test = score_interval(list(scores.by_seed.values()), space.scale, scores.num_examples) if done else None
    guessing = promoted.scored_set(done[0])[0] if done else None
    gain = None if source == default else gain_interval(scores, defaults, space.scale, sign=_sign(space))
    return {
        "trial_id": source,
        "is_default": source == default,
        "num_seeds": len(scores.by_seed),
        "num_failed": len(runs) - len(done),
        "val_mean": statistics.fmean(values) if values else None,
        **_named("test", test if promoted.has_test else None),
        "num_examples": scores.num_examples,
        "guessing": guessing,
        **_named("gain", gain),
        "conclusion": _row_conclusion(test, guessing, gain, promoted, len(scores.by_seed)),
        "seconds": round(sum(run.seconds for run in runs), 3),
        "energy_j": _energy_j(runs),
        "energy_reason": _energy_reason(space, runs),
    }


def _energy_j(runs: Sequence[TrialRecord]) -> float | None:
    """Joules of these trainings; None if those of one are unknown."""
    return to_joules(whole_mj(run.energy.total_mj for run in runs))


def _energy_reason(space: Space, runs: Sequence[TrialRecord]) -> str:
    """Why joules of these trainings are unknown, each reason once; empty if they are known."""
    unknown = [TrialEnergyRow(space, run) for run in runs if run.energy.total_mj is None]
    return "; ".join(dict.fromkeys(each.energy_reason or NO_SENSOR for each in unknown))


def _row_conclusion(
    score: Interval | None, guessing: float | None, gain: Interval | None, promoted: _Promoted, num_seeds: int
) -> str | None:
    """The conclusion of a row.

    Guessing comes first: two configurations that both guess do not tie, they have not learnt. The default has
    no gain over itself, so its conclusion is about guessing or empty.
    """
    if score and is_better_than_guessing(score, guessing, promoted.space.mode) is False:
        text = NO_BETTER
    elif gain:
        text = conclusion(gain, num_seeds)
    else:
        return None
    return text + ("" if promoted.has_test else UNTESTED)


def _sign(space: Space) -> int:
    """1 if more is better, -1 if less is: gains are positive if the configuration is better."""
    return 1 if space.mode == "max" else -1


def _named(prefix: str, value: Interval | None) -> dict[str, float | str | None]:
    """An interval as the four cells of a prefix: mean, low, high, and what it counts.

    If there is no interval, the fourth cell has the reason, because an empty pair of limits alone would look
    like a mistake.
    """
    if value is None:
        return {f"{prefix}_{end}": None for end in ("mean", "low", "high", "interval")}
    counts = "+".join(value.counts) + (", paired" if value.is_paired else "")
    return {
        f"{prefix}_mean": value.mean,
        f"{prefix}_low": value.low,
        f"{prefix}_high": value.high,
        f"{prefix}_interval": counts or f"none: {value.reason}",
    }
