"""Where a run executes: Ray, this process, virtual time."""
