"""The record of a run, whole or damaged, and what is read from it."""
