"""Hyperparameters that the horizon leaves without effect: none may be searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search.space.problems import Problems
from search.space.resolved import Space

_ADVICE = "take horizon: full or rung, or leave it out"


def check_horizon(space: Space, no_effect_anytime: Sequence[str], problems: Problems) -> None:
    """Add to `problems` every knob that is varied and does nothing.

    Args:
        no_effect_anytime: Hparams of the trainable that do nothing under the horizon "anytime".
    """
    text = f"does nothing with search.horizon: anytime, where no schedule falls; {_ADVICE}"
    for name in _idle(space, no_effect_anytime):
        if name in space.parameters:
            problems.add(f"parameters.{name}", text)
        for group, variants in space.ablations.items():
            if any(name in variant for variant in variants):
                problems.add(f"search.ablations.{group}", f"{name} {text}")
        if len({repr(point[name]) for point in space.trials if name in point}) > 1:
            problems.add("search.trials", f"{name} {text}")


def horizon_notices(space: Space, no_effect_anytime: Sequence[str]) -> Iterator[str]:
    """What the horizon makes of fixed hparams and of a ladder of one rung."""
    for name in _idle(space, no_effect_anytime):
        if name in space.fixed:
            yield f"parameters.{name}: ignored by the search with horizon: anytime; promotion uses it"
    if space.ladder.horizon == "rung" and len(space.ladder.rungs) == 1:
        yield "search.horizon: rung means full here, since the ladder has one rung"


def _idle(space: Space, no_effect_anytime: Sequence[str]) -> Sequence[str]:
    return no_effect_anytime if space.ladder.horizon == "anytime" else ()
