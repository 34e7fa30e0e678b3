"""What runs kernels: devices, plans, their evaluation, the cache, the end of the process."""
