"""What trainables and the search share: the contract, finding a trainable, its files and its states."""
