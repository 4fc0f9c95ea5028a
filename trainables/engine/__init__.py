"""The training loop every torch trainable shares: data, model, optimiser, schedule, precision, metrics.

`supervised.SupervisedTraining` puts the parts together; each part is a file and can be used alone.
Nothing here knows a model family, the search, or Ray.
"""
