"""What is known before a run: checks and the forecast."""
