"""Warp kernels of the fit layer: one source for CPU and CUDA."""
