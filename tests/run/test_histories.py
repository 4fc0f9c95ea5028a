"""Random searches with several workers, killed between any two events: rungs, sampler, journal together."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.support.histories import HISTORIES, Searches

TestSearches = Searches.TestCase
TestSearches.settings = settings(HISTORIES, max_examples=int(os.environ.get("JOULETUNE_HISTORIES", "60")))
