"""Measurements of ours against peers, side by side in one run."""
