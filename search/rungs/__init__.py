"""Asynchronous successive halving: who goes on at a rung. Pure: no Ray, no clock, no files."""

from __future__ import annotations

from search.rungs.asha import RungDecision, Rungs, Value
from search.rungs.settings import Kind

__all__ = ["Kind", "RungDecision", "Rungs", "Value"]
