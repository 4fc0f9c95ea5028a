"""A run: what it decides, how it resumes, and what comes out of it."""
