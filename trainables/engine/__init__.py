"""The training loop every torch trainable shares: data, model, optimiser, schedule, precision, metrics.

`supervised.SupervisedTraining` takes the parts; each part is a module and can be used alone.
Nothing here knows a model family, the search, or Ray.
"""
