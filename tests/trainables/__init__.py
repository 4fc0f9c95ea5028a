"""Each trainable, and the contract they all keep."""
