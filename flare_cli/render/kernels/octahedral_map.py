"""Kernels that look up a table of values over directions: an octahedron, unfolded into a square of nodes.

A direction (x, y, z), z >= 0, is at (x, y) / (|x| + |y| + |z|) in the square -1..1; the lower half folds out around it.
The creases of the fold run along cells' edges, so values between four nodes are continuous all over the sphere.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

RUN = 8  # points that one thread handles in the gradient: neighbours often lie in one cell. Not tuned.
POINTS = wp.constant(RUN)


@wp.func
def sign(value: float) -> float:
    """1 or -1; 1 at 0."""
    return wp.where(value < 0.0, -1.0, 1.0)


@wp.func
def unfolded(direction: wp.vec3) -> wp.vec2:
    """Where a direction (of any length but 0) lies in the unfolded square, -1 to 1."""
    length = wp.abs(direction[0]) + wp.abs(direction[1]) + wp.abs(direction[2])
    x = direction[0] / wp.max(length, 1.0e-20)
    y = direction[1] / wp.max(length, 1.0e-20)
    if direction[2] < 0.0:
        return wp.vec2((1.0 - wp.abs(y)) * sign(x), (1.0 - wp.abs(x)) * sign(y))
    return wp.vec2(x, y)


@wp.func
def unfolded_backward(direction: wp.vec3, g: wp.vec2) -> wp.vec3:
    """Adjoint of `unfolded`: the gradient to the direction, which is across it."""
    length = wp.max(wp.abs(direction[0]) + wp.abs(direction[1]) + wp.abs(direction[2]), 1.0e-20)
    g_x = g[0]
    g_y = g[1]
    if direction[2] < 0.0:
        swap_sign = -sign(direction[0]) * sign(direction[1])
        g_x = g[1] * swap_sign
        g_y = g[0] * swap_sign
    radial = (g_x * direction[0] + g_y * direction[1]) / length
    return (
        wp.vec3(
            g_x - sign(direction[0]) * radial,
            g_y - sign(direction[1]) * radial,
            -sign(direction[2]) * radial,
        )
        / length
    )


@wp.func
def cell(coordinate: float, side: int) -> int:
    """The cell, of `side`, that holds a coordinate of 0 to `side` along one axis."""
    return wp.clamp(int(wp.floor(coordinate)), 0, side - 1)


@wp.kernel
def look_up(
    table: wp.array(dtype=wp.vec3),
    side: int,
    direction: wp.array(dtype=wp.vec3),
    out: wp.array(dtype=wp.vec3),
):
    """One thread per direction: blend the four nodes of its cell into out[P].

    `table` holds the nodes row by row, side + 1 in a row; `side` counts the cells along a side of the square.
    """
    point = wp.tid()
    grid = (unfolded(direction[point]) + wp.vec2(1.0, 1.0)) * (0.5 * float(side))
    column = cell(grid[0], side)
    row = cell(grid[1], side)
    u = grid[0] - float(column)
    v = grid[1] - float(row)
    first = row * (side + 1) + column
    below = first + side + 1
    out[point] = (table[first] * (1.0 - u) + table[first + 1] * u) * (1.0 - v) + (
        table[below] * (1.0 - u) + table[below + 1] * u
    ) * v


@wp.func
def add_to_cell(
    grad_table: wp.array(dtype=wp.vec3), first: int, side: int, a: wp.vec3, b: wp.vec3, c: wp.vec3, d: wp.vec3
):
    """Add to the four nodes of the cell whose first (least row and column) is node `first`."""
    wp.atomic_add(grad_table, first, a)
    wp.atomic_add(grad_table, first + 1, b)
    wp.atomic_add(grad_table, first + side + 1, c)
    wp.atomic_add(grad_table, first + side + 2, d)


@wp.kernel
def look_up_backward(
    table: wp.array(dtype=wp.vec3),
    side: int,
    direction: wp.array(dtype=wp.vec3),
    grad_out: wp.array(dtype=wp.vec3),
    grad_table: wp.array(dtype=wp.vec3),
    grad_direction: wp.array(dtype=wp.vec3),
):
    """Adjoint of `look_up`, one thread per run of POINTS directions: gradients to table and directions.

    Adds to `grad_table`, once for each stretch of directions in one cell; writes grad_direction[P].
    """
    run = wp.tid()
    summed_cell = int(-1)
    a = wp.vec3(0.0)
    b = wp.vec3(0.0)
    c = wp.vec3(0.0)
    d = wp.vec3(0.0)
    for point in range(run * POINTS, wp.min((run + 1) * POINTS, direction.shape[0])):
        g = grad_out[point]
        grid = (unfolded(direction[point]) + wp.vec2(1.0, 1.0)) * (0.5 * float(side))
        column = cell(grid[0], side)
        row = cell(grid[1], side)
        u = grid[0] - float(column)
        v = grid[1] - float(row)
        first = row * (side + 1) + column
        below = first + side + 1
        if first != summed_cell:
            if summed_cell >= 0:
                add_to_cell(grad_table, summed_cell, side, a, b, c, d)
            summed_cell = first
            a = wp.vec3(0.0)
            b = wp.vec3(0.0)
            c = wp.vec3(0.0)
            d = wp.vec3(0.0)
        a += g * ((1.0 - u) * (1.0 - v))
        b += g * (u * (1.0 - v))
        c += g * ((1.0 - u) * v)
        d += g * (u * v)
        slope_u = (table[first + 1] - table[first]) * (1.0 - v) + (table[below + 1] - table[below]) * v
        slope_v = (table[below] - table[first]) * (1.0 - u) + (table[below + 1] - table[first + 1]) * u
        slope = wp.vec2(wp.dot(g, slope_u), wp.dot(g, slope_v)) * (0.5 * float(side))
        grad_direction[point] = unfolded_backward(direction[point], slope)
    if summed_cell >= 0:
        add_to_cell(grad_table, summed_cell, side, a, b, c, d)
