"""Space files: read, checked, and what they mean."""
