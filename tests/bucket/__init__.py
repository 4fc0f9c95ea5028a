"""The commands and the Python API."""
