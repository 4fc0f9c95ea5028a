"""Labelled images: sources, decoding once per node, splits, batches and their augmentation."""
