"""Sensors: what NVIDIA's, AMD's and Intel's drivers count, and what stands in where nothing does."""
