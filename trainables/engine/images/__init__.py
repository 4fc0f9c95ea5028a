"""Labelled images: sources, decoding once a node, splits, batches and their augmentation."""
