"""Pairs of images, and the network that tells whether both are of one class."""
