"""The project itself: who imports whom, and documents that are true."""
