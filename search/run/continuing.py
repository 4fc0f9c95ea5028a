"""Whether a run may be gone on with: what may change between two sessions, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.ledger import LedgerError
from search.space import Space

# Limits, resources, promotion and eta may change, and ranges may: they say what comes next. These say
# what the scores that are there already mean.
_MUST_MATCH = (
    *("trainable", "data", "metric", "mode", "objective", "fixed", "ladder", "horizon", "seed"),
    *("precision", "patience", "early_stop_threshold", "validation_subset", "validation_resolution"),
)
_MUST_MATCH_OF_SCHEDULER = ("mode", "brackets", "audit")  # who went on, and who paused


def check_continues(folder: Path, before: Space, now: Space) -> None:
    """See that trials of `now` compare with those that `before` left in `folder`.

    Raises:
        LedgerError: They do not; the message lists every difference.
    """
    changed = [name for name in _MUST_MATCH if _setting(before, name) != _setting(now, name)]
    lines = [f"  {name}: was {_shown(before, name)}, now {_shown(now, name)}" for name in changed]
    for key in _MUST_MATCH_OF_SCHEDULER:
        was, is_now = getattr(before.scheduler, key), getattr(now.scheduler, key)
        if was != is_now:
            lines.append(f"  scheduler.{key}: was {was}, now {is_now}")
    if set(before.parameters) != set(now.parameters):
        was, is_now = ", ".join(before.parameters), ", ".join(now.parameters)
        lines.append(f"  parameters: were {was}, now {is_now}")
    if lines:
        raise LedgerError(
            "\n".join(
                [
                    f"{folder} holds a run with other settings:",
                    *lines,
                    "give another --name, or --fresh for a new run",
                ]
            )
        )


def _setting(space: Space, name: str) -> Any:
    if name == "ladder":
        return space.ladder.rungs, space.ladder.joules
    return space.ladder.horizon if name == "horizon" else getattr(space, name)


def _shown(space: Space, name: str) -> str:
    value = _setting(space, name)
    if name == "ladder":
        return str(space.to_dict()["search"]["ladder"])
    if name == "objective":
        return ", ".join(value)
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
