"""Freeze-thaw search: a model of all learning curves decides which trial is trained further, or started."""
