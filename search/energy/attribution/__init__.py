"""Who used each millijoule of a device: windows, their use, their intensity, and their accounts."""
