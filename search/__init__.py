"""What to train next, when to stop it, and what it costs."""
