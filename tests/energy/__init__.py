"""Counters, attribution and the joules of a run."""
