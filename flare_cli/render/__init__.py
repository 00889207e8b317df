"""Cameras, rasterizer backends, kernels, shading maths, environment light."""
