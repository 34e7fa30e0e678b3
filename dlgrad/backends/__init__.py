"""Switches and answers about libraries that PyTorch computes with, for programs that ask.

Floor 7.  dlgrad computes with kernels of its own: cuDNN, MKL, oneDNN and OpenMP are not there,
and say so.  Switches that a program sets are kept as they are set and change nothing.
"""

from dlgrad.backends import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
