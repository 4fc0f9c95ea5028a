"""Who used each millijoule of a device: leases, their use, their intensity, and their accounts."""
