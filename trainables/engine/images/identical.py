"""Messages about images that a data set has more than once, by the bytes of their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

_NAMED = 3


def in_two_parts(
    identical: Sequence[Sequence[int]], parts: Sequence[tuple[str, Tensor]], name: Callable[[int], str]
) -> str:
    """A message on images in two parts, such as both trained on and scored; empty if there are none.

    Args:
        identical: Groups of rows with the same content.
        parts: The name of each part, with its rows.
        name: Returns the name of a row's image.
    """
    if not identical:
        return ""
    part_of = {row: part for part, rows in parts for row in rows.tolist()}
    pairs = []
    for rows in identical:
        first = {part_of[row]: row for row in reversed(rows) if row in part_of}
        if len(first) > 1:
            pairs.append(" = ".join(f"{name(row)} ({part})" for part, row in sorted(first.items())))
    if not pairs:
        return ""
    return f"images in two parts: {len(pairs)} ({_listed(pairs)}); scores on them validate nothing"


def in_two_classes(
    identical: Sequence[Sequence[int]], labels: Sequence[int], name: Callable[[int], str]
) -> str:
    """A message on images with two labels, of which one is wrong; empty if there are none."""
    pairs = []
    for rows in identical:
        first = {labels[row]: row for row in reversed(rows)}
        if len(first) > 1:
            pairs.append(" = ".join(name(row) for _, row in sorted(first.items())))
    return f"images in two classes: {len(pairs)} ({_listed(pairs)})" if pairs else ""


def more_than_once(identical: Sequence[Sequence[int]], name: Callable[[int], str]) -> str:
    """A message on how many images are copies of others, wherever they are; empty if none is."""
    if not identical:
        return ""
    num_copies = sum(len(rows) - 1 for rows in identical)
    pairs = [f"{name(rows[0])} = {name(rows[1])}" for rows in identical[:_NAMED]]
    return f"images that are copies of others: {num_copies} ({_listed(pairs, len(identical))})"


def _listed(pairs: Sequence[str], count: int | None = None) -> str:
    return ", ".join(pairs[:_NAMED]) + (", ..." if (count or len(pairs)) > _NAMED else "")
