"""Freeze-thaw search: a model of all learning curves decides which trial to train further or to start."""
