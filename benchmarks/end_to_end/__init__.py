"""From data to hyperparameters that train well: ours against scripts as the documentation has them."""
