"""Look up and update a multiresolution hash grid (Müller et al., Instant Neural Graphics Primitives, 2022).

A thread handles a run of `length` points at one level, level by level, so that a level's table stays in cache.
Neighbouring pixels often lie in one cell: a run reads a cell once, and adds up what it gets before it writes.
"""

import functools
from typing import Any

import warp as wp

from flare_cli.render.kernels.addition import row_adder

wp.set_module_options({"enable_backward": False})

# Instant-NGP, equation 4; the factor of x is 1.
PRIME_Y = wp.constant(wp.uint32(2654435761))
PRIME_Z = wp.constant(wp.uint32(805459861))


@wp.func
def entry(x: int, y: int, z: int, resolution: int, size: int, hashed: int) -> int:
    """Row of the grid corner (x, y, z) within its level's table: counted, x fastest, or hashed (Instant-NGP, eq. 4)."""
    if hashed == 0:
        side = resolution + 1
        return x + side * (y + side * z)
    mixed = wp.uint32(x) ^ (wp.uint32(y) * PRIME_Y) ^ (wp.uint32(z) * PRIME_Z)
    return int(mixed & wp.uint32(size - 1))


@wp.func
def cell(coordinate: float, resolution: int) -> int:
    """The cell that holds a coordinate along one axis; the outermost cells reach on to infinity."""
    return wp.clamp(int(wp.floor(coordinate)), 0, resolution - 1)


@functools.cache
def hash_grid_kernels(features: int) -> tuple[Any, Any]:
    """The (forward, backward) kernels for tables with this many features per entry."""
    row = wp.types.vector(length=features, dtype=wp.float32)
    rows = wp.types.matrix(shape=(8, features), dtype=wp.float32)

    add_to_row = row_adder(features)

    @wp.func
    def add_to_cell(
        table: wp.array(dtype=row),
        values: rows,
        x: int,
        y: int,
        z: int,
        offset: int,
        size: int,
        resolution: int,
        hashed: int,
    ):
        """Add to the eight corners of a cell."""
        for corner in range(8):
            i = corner & 1
            j = (corner >> 1) & 1
            k = corner >> 2
            add_to_row(table, offset + entry(x + i, y + j, z + k, resolution, size, hashed), values[corner])

    @wp.kernel(module="unique", enable_backward=False)
    def encode(
        points: wp.array(dtype=wp.vec3),
        table: wp.array(dtype=row),
        resolutions: wp.array(dtype=wp.int32),
        offsets: wp.array(dtype=wp.int32),
        sizes: wp.array(dtype=wp.int32),
        hashed: wp.array(dtype=wp.int32),
        length: int,
        out: wp.array3d(dtype=wp.float32),
    ):
        """One thread per run of points on one level [L, runs]: features, trilinear between the corners of a cell.

        `points` are in the unit cube. Each level has its cells per side (`resolutions`), its first row of the table
        (`offsets`) and its number of rows (`sizes`); `hashed` is 1 where corners share rows. `out` is [L, features, P].
        """
        level, run = wp.tid()
        resolution = resolutions[level]
        offset = offsets[level]
        size = sizes[level]
        at_x = int(-1)
        at_y = int(-1)
        at_z = int(-1)
        corners = rows()
        for point in range(run * length, wp.min((run + 1) * length, points.shape[0])):
            p = points[point] * float(resolution)
            x = cell(p[0], resolution)
            y = cell(p[1], resolution)
            z = cell(p[2], resolution)
            if x != at_x or y != at_y or z != at_z:
                at_x = x
                at_y = y
                at_z = z
                for corner in range(8):
                    i = corner & 1
                    j = (corner >> 1) & 1
                    k = corner >> 2
                    corners[corner] = table[offset + entry(x + i, y + j, z + k, resolution, size, hashed[level])]
            u = p[0] - float(x)
            v = p[1] - float(y)
            w = p[2] - float(z)
            total = row()
            for corner in range(8):
                i = corner & 1
                j = (corner >> 1) & 1
                k = corner >> 2
                weight = (
                    (float(1 - i) + float(2 * i - 1) * u)
                    * (float(1 - j) + float(2 * j - 1) * v)
                    * (float(1 - k) + float(2 * k - 1) * w)
                )
                total += weight * corners[corner]
            # Point by point within a feature: neighbouring threads write neighbouring numbers.
            for feature in range(features):
                out[level, feature, point] = total[feature]

    @wp.kernel(module="unique", enable_backward=False)
    def encode_backward(
        points: wp.array(dtype=wp.vec3),
        table: wp.array(dtype=row),
        resolutions: wp.array(dtype=wp.int32),
        offsets: wp.array(dtype=wp.int32),
        sizes: wp.array(dtype=wp.int32),
        hashed: wp.array(dtype=wp.int32),
        length: int,
        grad_out: wp.array3d(dtype=wp.float32),
        grad_table: wp.array(dtype=row),
        grad_points: wp.array2d(dtype=wp.vec3),
        wants_points: wp.bool,
    ):
        """Adjoint of `encode`, shared out as that is: gradients to the table and, where wanted, to the points.

        grad_out[L, features, P] is that of `out`. Adds to `grad_table`; writes grad_points[L, P]: what each level alone
        gives, to be summed.
        """
        level, run = wp.tid()
        resolution = resolutions[level]
        offset = offsets[level]
        size = sizes[level]
        at_x = int(-1)
        at_y = int(-1)
        at_z = int(-1)
        sums = rows()
        for point in range(run * length, wp.min((run + 1) * length, points.shape[0])):
            g = row()
            for feature in range(features):
                g[feature] = grad_out[level, feature, point]
            g_p = wp.vec3(0.0)
            # Padding and pixels outside the mask have no gradient: adding zeros would only make others wait.
            if not (wp.max(wp.abs(g)) == 0.0):
                p = points[point] * float(resolution)
                x = cell(p[0], resolution)
                y = cell(p[1], resolution)
                z = cell(p[2], resolution)
                if x != at_x or y != at_y or z != at_z:
                    if at_x >= 0:
                        add_to_cell(grad_table, sums, at_x, at_y, at_z, offset, size, resolution, hashed[level])
                    sums = rows()
                    at_x = x
                    at_y = y
                    at_z = z
                u = p[0] - float(x)
                v = p[1] - float(y)
                w = p[2] - float(z)
                for corner in range(8):
                    i = corner & 1
                    j = (corner >> 1) & 1
                    k = corner >> 2
                    sign_u = float(2 * i - 1)
                    sign_v = float(2 * j - 1)
                    sign_w = float(2 * k - 1)
                    at_u = float(1 - i) + sign_u * u
                    at_v = float(1 - j) + sign_v * v
                    at_w = float(1 - k) + sign_w * w
                    sums[corner] = sums[corner] + (at_u * at_v * at_w) * g
                    if wants_points:
                        target = offset + entry(x + i, y + j, z + k, resolution, size, hashed[level])
                        slope = wp.dot(table[target], g)
                        g_p += slope * wp.vec3(sign_u * at_v * at_w, at_u * sign_v * at_w, at_u * at_v * sign_w)
            if wants_points:
                grad_points[level, point] = g_p * float(resolution)
        if at_x >= 0:
            add_to_cell(grad_table, sums, at_x, at_y, at_z, offset, size, resolution, hashed[level])

    return encode, encode_backward
