"""Who executes a run: Ray, this process, or virtual time. A run decides; a backend decides nothing."""
