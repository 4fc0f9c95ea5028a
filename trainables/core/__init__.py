"""Code shared by trainables and the search: the contract, finding a trainable, its files and its states."""
