"""What a promoted configuration gains over the default, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def gain_sentence(row: Mapping[str, Any], metric: str) -> str:
    """The gain with its interval and seeds, or that it is a tie.

    Args:
        row: Of promoted.csv.
        metric: The search's, as in "val_accuracy".
    """
    name, seeds = row["trial_id"], seeds_text(row)
    if row["is_default"]:
        return (
            f"The default configuration ({name}) is the best after full training on {seeds}: "
            f"nothing that was searched beats it on validation."
        )
    gain = row["gain_mean"]
    if gain is None:
        return f"{name} is the best after full training on {seeds}; the default has no score to compare."
    where = "validation" if "on validation" in str(row["verdict"]) else "test"
    of = f"in {metric.removeprefix('val_')} on {where}{_interval_text(row)}"
    said = str(row["verdict"]).removesuffix(", on validation")
    if said == "tie":
        return (
            f"A tie: full training cannot tell {name} from the default configuration. "
            f"The gain is {gain:+.4g} {of}, and 0 lies in the interval."
        )
    if said == "one seed":
        word = "ahead of" if gain > 0 else "behind"
        return f"{name} is {word} the default by {abs(gain):.4g} {of}, on one seed: that may be chance."
    flattered = " This is on validation, which flatters what was chosen by it." if where != "test" else ""
    return f"{name} is {said} than the default configuration by {abs(gain):.4g} {of}.{flattered}"


def seeds_text(row: Mapping[str, Any]) -> str:
    """ "1 seed" or "3 seeds"."""
    return f"{row['num_seeds']} seed{'s' if row['num_seeds'] != 1 else ''}"


def _interval_text(row: Mapping[str, Any]) -> str:
    if row["gain_low"] is None:
        return ""
    return f" (95 % interval {row['gain_low']:.4g} to {row['gain_high']:.4g}, {seeds_text(row)})"
