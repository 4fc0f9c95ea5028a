"""One training in several processes, a device each, that comes to what one process comes to.

`leader` is rank 0: the process that runs the trial, with the other ranks as its children. `follower` is what
each of these runs. Within an epoch all take the same optimiser steps: `ranks` gives each its share of a batch
and adds their gradients up, `batch_norm` makes statistics those of the whole batch. Between epochs the
followers wait: rank 0 alone validates, decides and saves.
"""
