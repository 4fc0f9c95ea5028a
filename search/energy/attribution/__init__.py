"""Attribute each millijoule of a device: windows, their use, their watts at full use, and their accounts."""
