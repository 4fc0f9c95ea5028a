"""Measurements of jouletune against its peers, side by side in one run."""
