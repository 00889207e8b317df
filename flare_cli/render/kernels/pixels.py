"""Kernels on the list of foreground pixels: make it, scatter values from it into pictures, gather them again.

A list of fixed capacity is padded with the index one past the last pixel; padding reads as zero and is never written.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def list_pixels(
    triangle: wp.array(dtype=wp.int32),
    rank: wp.array(dtype=wp.int32),
    pixels_per_picture: int,
    index: wp.array(dtype=wp.int64),
    batch: wp.array(dtype=wp.int64),
):
    """One thread per pixel of [B H W], flattened: one that sees a triangle goes into the list at its rank.

    `rank` counts the pixels with a triangle up to and with this one. Pixels beyond the list's capacity are dropped.
    """
    pixel = wp.tid()
    slot = rank[pixel] - 1
    if triangle[pixel] >= 0 and slot < index.shape[0]:
        index[slot] = wp.int64(pixel)
        batch[slot] = wp.int64(pixel / pixels_per_picture)


@wp.kernel
def scatter(
    values: wp.array2d(dtype=wp.float32), index: wp.array(dtype=wp.int64), canvas: wp.array2d(dtype=wp.float32)
):
    """One thread per entry of values[P, C]: write it into canvas[B H W, C] at the pixel that is listed in its place."""
    slot, channel = wp.tid()
    pixel = int(index[slot])
    if pixel < canvas.shape[0]:
        canvas[pixel, channel] = values[slot, channel]


@wp.kernel
def gather(canvas: wp.array2d(dtype=wp.float32), index: wp.array(dtype=wp.int64), values: wp.array2d(dtype=wp.float32)):
    """Adjoint of `scatter` to its values: read canvas[B H W, C] at each listed pixel into values[P, C]."""
    slot, channel = wp.tid()
    pixel = int(index[slot])
    if pixel < canvas.shape[0]:
        values[slot, channel] = canvas[pixel, channel]
    else:
        values[slot, channel] = 0.0
