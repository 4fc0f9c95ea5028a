"""Kinds of value under `search.command`: words of a command line, and mappings."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from pydantic import PlainValidator

from search.space.problems import shown
from trainables.command.template import places, text_of

_PLAIN = bool | int | float | str


def _tokens(value: Any) -> tuple[str, ...]:
    """A command as a list of tokens, or as a text that is cut as a shell would, without running one."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be cut into words: {error}; write a list of words") from None
    if not isinstance(value, list) or not all(isinstance(token, _PLAIN) for token in value):
        raise ValueError(f"must be a text or a list of words, got {shown(value)}")
    tokens = tuple(text_of(token) for token in value)
    places(tokens)
    return tokens


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping such as {{lr: 0.1}}, got {shown(value)}")
    return value


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, _PLAIN) for item in value.values()):
        raise ValueError(f"must be a mapping to texts, got {shown(value)}")
    return {name: text_of(text) for name, text in value.items()}


Tokens = Annotated[tuple[str, ...], PlainValidator(_tokens)]
Values = Annotated[dict[str, Any], PlainValidator(_mapping)]
PlainTexts = Annotated[dict[str, str], PlainValidator(_texts)]
