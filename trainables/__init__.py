"""Training loops, one model family a file. See `contract` for the words they share."""
