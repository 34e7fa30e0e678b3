"""The room of CUDA: NVIDIA GPUs through the driver library, nvcc and NVRTC."""
