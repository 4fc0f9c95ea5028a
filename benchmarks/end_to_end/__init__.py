"""From data to hyperparameters that train well: ours against scripts written as in the documentation."""
