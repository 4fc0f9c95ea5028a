"""One training in several processes, a device each, with the same result as in one process.

`leader` is rank 0: the process that runs the trial, with the other ranks as its children. `follower` is what
each of these runs. Within an epoch all take the same optimiser steps: `ranks` gives each its share of a batch
and adds up their gradients, and `batch_norm` computes statistics over the whole batch. Between epochs the
followers wait: only rank 0 validates, decides and saves.
"""
