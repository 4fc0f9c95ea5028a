"""What can be searched: a folder for each model family. `core/contract.py` has what each must provide."""
