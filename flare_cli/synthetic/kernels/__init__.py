"""Warp kernels of the ray tracer: one source for CPU and CUDA."""
