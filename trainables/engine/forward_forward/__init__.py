"""Training without backpropagation, layer by layer."""
