"""Kernels for random numbers that depend on a seed and a place in the output alone."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def normal(seed: wp.array(dtype=wp.int32), out: wp.array(dtype=wp.vec3)):
    """One thread per vector: three independent standard normal numbers, from the seed and the thread's number alone."""
    i = wp.tid()
    state = wp.rand_init(seed[0], i)
    x = wp.randn(state)
    y = wp.randn(state)
    out[i] = wp.vec3(x, y, wp.randn(state))


@wp.kernel
def uniform(seed: wp.array(dtype=wp.int32), out: wp.array(dtype=wp.float32)):
    """One thread per number from 0 to below 1, from the seed and the thread's number alone.

    Negative counters keep it apart from `normal` with the same seed.
    """
    i = wp.tid()
    state = wp.rand_init(seed[0], -1 - i)
    out[i] = wp.randf(state)
