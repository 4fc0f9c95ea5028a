"""Sensors: the counters of NVIDIA's, AMD's and Intel's drivers, and an estimate for where there are none."""
