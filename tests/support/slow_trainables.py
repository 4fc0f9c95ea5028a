"""Trainables that need half a minute or more to overfit a few examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

SLOW_LEARNERS = {"code_clones", "detection"}


def marked(names: Iterable[str]) -> list[Any]:
    """The names as a test's parameters, with slow learners marked slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_LEARNERS)) for name in names]
