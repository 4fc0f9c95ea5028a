"""Asynchronous successive halving: which trials continue past a rung. Pure: no Ray, no clock, no files."""

from __future__ import annotations

from search.rungs.asha import Kind, RungDecision, Rungs, Value

__all__ = ["Kind", "RungDecision", "Rungs", "Value"]
