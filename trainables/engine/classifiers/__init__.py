"""Image classifiers by name, their metrics, and their predictions for each image."""
