"""Warp kernels of the subject layer: one source for CPU and CUDA."""
