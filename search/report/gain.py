"""The gain of a promoted configuration over the default, and whether either beats guessing, as text. Pure.

The sentence is what most people read of a promotion, so it claims no more than the interval does. A gain
whose interval contains 0 is a tie, whatever its mean. One seed is "ahead" and may be chance. A score that is
no better than guessing is called that before any gain is mentioned. A comparison on validation is marked as
flattering, because the configuration was chosen there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.guessing import NO_BETTER, AgainstGuessing
from search.printable import counted
from search.space import Space
from search.tables.promoted import UNTESTED

Row = Mapping[str, Any]  # of promoted.csv


def gain_sentence(row: Row, space: Space, default: Row | None = None) -> str:
    """State the gain with its interval and what that covers, or a tie, or a score no better than guessing.

    Args:
        row: The winner's row of promoted.csv.
        default: The row of the default configuration, to say whether that beats guessing; None if it was not
            promoted.
    """
    name, outcome = row["trial_id"], _outcome(row)
    if outcome == NO_BETTER:
        return _guessing_sentence(row, space, default)
    if row["is_default"]:
        return (
            f"The default configuration ({name}) is the best after full training on {seeds_text(row)}: "
            f"no searched configuration beats it on validation."
        )
    gain = row["gain_mean"]
    if gain is None:
        best = f"{name} is the best after full training on {seeds_text(row)}"
        return f"{best}; the default has no score to compare with."
    where = _where(row)
    of = f"in {_plain(space)} on {where}{interval_text(row, 'gain', space)}"
    if outcome == "tie":
        return (
            f"A tie: full training shows no difference between {name} and the default configuration. "
            f"The gain is {gain:+.4g} {of}, and 0 is in the interval."
        )
    if outcome in ("one seed", "no interval"):
        word = "ahead of" if gain > 0 else "behind" if gain < 0 else "level with"
        amount = f" by {abs(gain):.4g}" if gain else ""
        return f"{name} is {word} the default{amount} {of}{_caution(row, outcome)}."
    flattered = (
        " This is on validation, which favours configurations that were chosen by it."
        if where != "test"
        else ""
    )
    is_beaten = default is not None and _outcome(default) == NO_BETTER
    beside = f" The default configuration is {NO_BETTER} ({row['guessing']:.2g})." if is_beaten else ""
    return f"{name} is {outcome} than the default configuration by {abs(gain):.4g} {of}.{flattered}{beside}"


def default_of(rows: Sequence[Row]) -> Row | None:
    """The default configuration's row, if it was promoted beside the others."""
    return next((row for row in rows if row["is_default"]), None)


def interval_text(row: Row, prefix: str, space: Space) -> str:
    """An interval and what its width comes from, in brackets after a space; empty if there is none.

    Args:
        prefix: The prefix of its columns in promoted.csv, "test" or "gain".
    """
    low, high = row[f"{prefix}_low"], row[f"{prefix}_high"]
    if low is None:
        return ""
    return f" (95 % interval {low:.4g} to {high:.4g}; {_counted(row, prefix, space)})"


def set_text(row: Row, space: Space) -> str:
    """The size of the scored set, and what one example of it is worth: "37 test images: one is 0.027".

    This shows at a glance which differences mean anything: 0.01 on 37 images is less than one image. Only a
    metric that is a mean over examples and has known bounds (accuracy: 0 to 1) has such a step.
    """
    count, scale = row.get("num_examples"), space.scale
    if not count:
        return f"a {_where(row)} set of unknown size"
    text = f"{count} {_where(row)} {space.scored_unit}"
    if scale.kind != "mean" or scale.low is None or scale.high is None:
        return text
    return f"{text}: one is {(scale.high - scale.low) / count:.2g}"


def seeds_text(row: Row) -> str:
    """ "1 seed" or "3 seeds"."""
    return counted(row["num_seeds"], "seed")


def guessing_text(found: AgainstGuessing, space: Space) -> str:
    """A search's best beside guessing: "no better than guessing (0.51): val_accuracy 0.55 on 60 validation
    images, 0.42 to 0.68 as the best of 24"."""
    interval, many = found.interval, found.num_compared
    word = NO_BETTER if found.is_better is False else "better than guessing"
    size = f"{found.num_examples} validation {space.scored_unit}" if found.num_examples else "validation"
    ends = (
        "" if interval.low is None else f", {interval.low:.2g} to {interval.high:.2g} as the best of {many}"
    )
    return f"{word} ({found.guessing:.2g}): {space.metric} {interval.mean:.4g} on {size}{ends}"


def _guessing_sentence(row: Row, space: Space, default: Row | None) -> str:
    name = f"The default configuration ({row['trial_id']})" if row["is_default"] else row["trial_id"]
    score = (
        "" if row["test_mean"] is None else f": {row['test_mean']:.4g} in {_plain(space)} on {_where(row)}"
    )
    is_neither = default is not None and not row["is_default"] and _outcome(default) == NO_BETTER
    text = f"{name} is {NO_BETTER} ({row['guessing']:.2g}){score}{interval_text(row, 'test', space)}."
    return text + (" Neither is the default configuration." if is_neither else "")


def _counted(row: Row, prefix: str, space: Space) -> str:
    """What the width of an interval comes from: seeds, examples of the scored set, or both.

    Whichever is missing is named: an interval over seeds alone hides that another test set would give another
    score, and one over examples alone that another seed would.
    """
    counts = str(row.get(f"{prefix}_interval") or "")
    if "examples" not in counts:
        return f"{seeds_text(row)}; the uncertainty from the {_where(row)} set is unknown"
    paired = ", paired" if counts.endswith("paired") else ""
    if "seeds" not in counts:
        return f"{set_text(row, space)}{paired}; one seed: the spread over seeds is not included"
    return f"{seeds_text(row)}, {set_text(row, space)}{paired}"


def _caution(row: Row, outcome: str) -> str:
    """Why a gain without an interval proves nothing: one seed, or the reason in `gain_interval`."""
    if outcome == "one seed":
        return ", with one seed: this may be chance"
    reason = str(row.get("gain_interval") or "").removeprefix("none: ")
    return f", without an interval ({reason}): this may be chance"


def _outcome(row: Row) -> str:
    """The conclusion without ", on validation": better, worse, tie, one seed, no interval, or guessing."""
    return str(row["conclusion"] or "").removesuffix(UNTESTED)


def _where(row: Row) -> str:
    """The set that was compared on: "validation" if the trainable has no test set, else "test"."""
    return "validation" if str(row["conclusion"] or "").endswith(UNTESTED) else "test"


def _plain(space: Space) -> str:
    """The metric without its set: the same number is `val_accuracy` in a search and accuracy on test."""
    return space.metric.removeprefix("val_")
