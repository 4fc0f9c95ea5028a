"""Image classifiers by name, their metrics, and what they said of each image."""
