"""Warp kernels of the render layer: one source for CPU and CUDA."""
