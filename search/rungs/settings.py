"""What kinds of rungs there are, and which settings make sense. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Kind = Literal["asha", "asha_stopping", "pasha", "none"]


def check_settings(
    num_rungs: int,
    eta: float | None,
    modes: Sequence[str],
    kind: str,
    num_brackets: int,
    control_fraction: float,
) -> None:
    """See that `Rungs` can be made of these.

    Raises:
        ValueError: It cannot; the message says what is allowed.
    """
    most_brackets = min(num_rungs, 2) if kind == "pasha" else num_rungs
    if num_rungs < 1:
        raise ValueError(f"a ladder needs at least one rung, got {num_rungs}")
    if eta is not None and eta <= 1:
        raise ValueError(f"eta must be above 1, got {eta}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    if not modes or set(modes) - {"min", "max"}:
        raise ValueError(f"mode must be min or max, once per objective, got {list(modes)}")
    if kind == "pasha" and len(modes) > 1:
        raise ValueError(f"pasha compares values of one objective, got {len(modes)}; use asha")
    if not 1 <= num_brackets <= most_brackets:
        raise ValueError(f"num_brackets must be from 1 to {most_brackets}, got {num_brackets}")
    if not 0 <= control_fraction <= 1:
        raise ValueError(f"control_fraction must be a share from 0 to 1, got {control_fraction}")
