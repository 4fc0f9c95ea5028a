"""The smallest search of each space, which `make spaces` runs, can be read as a space."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.spaces import NUM_TRIALS, SMALLEST, smallest, spaces
from search.space import load_space

SPACES = Path(__file__).parents[2] / "spaces"


def test_what_is_made_small_is_there() -> None:
    assert set(SMALLEST) <= set(spaces())


@pytest.mark.parametrize("name", spaces())
def test_the_smallest_search_is_of_the_space(name: str) -> None:
    limit = f"search.limits.trials={NUM_TRIALS}"
    space = load_space(name, overrides=[*smallest(name), limit], spaces_dir=SPACES)
    assert space.trainable == load_space(name, spaces_dir=SPACES).trainable
    assert space.limits.trials == NUM_TRIALS
