"""Code shared by tests, in modules named for what they provide."""
