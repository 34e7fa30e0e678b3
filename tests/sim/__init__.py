"""Simulated GPUs: the CUDA driver, nvcc, the Objective-C run time and Metal, on a CPU.

`engine/` runs GPU threads as fibers and watches them; `cuda/` and `metal/` hold the fake
libraries above it and the headers under which unmodified kernels compile for the CPU;
`build.py` builds it all on first use.
"""
