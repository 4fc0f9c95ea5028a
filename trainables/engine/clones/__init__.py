"""Pairs of source files as orders of their syntax trees, and the network that says which are clones."""
