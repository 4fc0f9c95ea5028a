"""The training loop and the data that families share."""
