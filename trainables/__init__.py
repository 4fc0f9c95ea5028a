"""Trainables, one folder or module per model family; `core/contract.py` defines what each must provide."""
