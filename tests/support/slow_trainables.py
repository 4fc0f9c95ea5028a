"""Trainables that need half a minute and more to overfit a few examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

SLOW_LEARNERS = {"code_clones", "detection"}


def marked(names: Iterable[str]) -> list[Any]:
    """The names as a test's parameters, those of slow learners for the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_LEARNERS)) for name in names]
