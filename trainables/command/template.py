"""A command line with places for values, such as `--lr {lr}`; no shell sees it. Standard library only."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What a command may be told beside its hyperparameters.
PLACES = (
    *("epochs", "until", "subset", "resolution", "seed", "data_seed", "data", "device"),
    *("checkpoint_dir", "python"),
)


def places(tokens: Iterable[str]) -> set[str]:
    """The names in braces.

    Raises:
        ValueError: A brace that stands alone, or a format beside a name: values go in as they are.
    """
    return {name for token in tokens for _, name in _parts(token) if name is not None}


def filled(tokens: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The tokens with each place filled. A value stays within its token, whatever it holds."""
    return ["".join(_pieces(token, values)) for token in tokens]


def flagged(flag: str, value: Any) -> list[str]:
    """Tokens that give `value` by a flag: true is the flag alone, false nothing; `--lr=` joins with it."""
    if isinstance(value, bool):
        return [flag] if value else []
    text = text_of(value)
    if flag.endswith("="):
        return [flag + text]
    # argparse takes -1e-05 for a flag
    return [f"{flag}={text}"] if text.startswith("-") and flag.startswith("--") else [flag, text]


def text_of(value: Any) -> str:
    """A value in full precision: `float()` of it is the same number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _pieces(token: str, values: Mapping[str, Any]) -> Iterable[str]:
    for literal, name in _parts(token):
        yield literal
        if name is not None:
            yield text_of(values[name])


def _parts(token: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(string.Formatter().parse(token))
    except ValueError as error:
        raise ValueError(f"{token!r}: {error}; write {{{{ and }}}} for braces of your own") from None
    for _, name, form, conversion in parts:
        if form or conversion or (name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name)):
            raise ValueError(
                f"{token!r}: between braces there is a name alone; write {{{{ and }}}} for others"
            )
    return [(literal, name) for literal, name, _, _ in parts]
