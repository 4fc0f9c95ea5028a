"""Trainables for which a test takes long, and so is marked slow."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

SLOW_LEARNERS = {"code_clones", "detection"}  # half a minute or more to overfit a few examples
SLOW_DATA = {"code_clones", "code_vulnerability"}  # their data, made from Python's library, takes seconds


def marked(names: Iterable[str], slow: Collection[str] = SLOW_LEARNERS) -> list[Any]:
    """The names as a test's parameters, with those in `slow` marked slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in names]
