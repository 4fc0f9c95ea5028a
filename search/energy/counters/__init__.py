"""Sensors: what NVIDIA's, AMD's and Intel's drivers count, and the estimate where nothing does."""
