"""Kernels that find silhouette edges between neighbouring pixels and blend across them, with gradients to the edge.

`axis` 0 pairs a pixel with its right neighbour, 1 with the one below. In a pair's own frame u runs along the axis from
pixel to neighbour (0 to 1) and v across it.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

# Triangles crossed between two pixel centres before we give up: silhouettes are rich in edge-on slivers.
MAX_WALK = wp.constant(64)


@wp.kernel
def to_screen(
    clip: wp.array2d(dtype=wp.vec4), half_width: float, half_height: float, screen: wp.array2d(dtype=wp.vec2)
):
    """Pixel positions; NaN for vertices that the near plane z = -w cuts."""
    batch, vertex = wp.tid()
    c = clip[batch, vertex]
    place = wp.vec2(wp.nan, wp.nan)
    if c[2] + c[3] >= 0.0 and c[3] > 0.0:
        place = wp.vec2((c[0] + c[3]) * half_width / c[3], (c[1] + c[3]) * half_height / c[3])
    screen[batch, vertex] = place


@wp.kernel
def to_screen_backward(
    clip: wp.array2d(dtype=wp.vec4),
    half_width: float,
    half_height: float,
    grad_screen: wp.array2d(dtype=wp.vec2),
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    batch, vertex = wp.tid()
    c = clip[batch, vertex]
    grad = wp.vec4(0.0)
    if c[2] + c[3] >= 0.0 and c[3] > 0.0:
        x = grad_screen[batch, vertex][0] * half_width / c[3]
        y = grad_screen[batch, vertex][1] * half_height / c[3]
        grad = wp.vec4(x, y, 0.0, -(x * c[0] + y * c[1]) / c[3])
    grad_clip[batch, vertex] = grad


@wp.func
def local(position: wp.vec2, row: int, column: int, axis: int, direction: float) -> wp.vec2:
    """A screen point in the frame of a pair that starts at this pixel and runs along `direction` of `axis`."""
    x = position[0] - (float(column) + 0.5)
    y = position[1] - (float(row) + 0.5)
    if axis == 0:
        return wp.vec2(x * direction, y)
    return wp.vec2(y * direction, x)


@wp.func
def side(a: wp.vec2, b: wp.vec2, p: wp.vec2) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


@wp.func
def walk_to_silhouette(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    twins: wp.array2d(dtype=wp.int32),
    batch: int,
    row: int,
    column: int,
    axis: int,
    direction: float,
    start: int,
    goal: int,
) -> int:
    """Cross triangles from pixel centre toward its neighbour; the half-edge where the surface ends or folds, or -1."""
    face = int(start)
    entry = int(-1)
    found = int(-1)
    step = int(0)
    while step < MAX_WALK:
        step += 1
        leave = int(-1)
        furthest = float(-1.0e30)
        for k in range(3):
            a = local(screen[batch, faces[face, k]], row, column, axis, direction)
            b = local(screen[batch, faces[face, (k + 1) % 3]], row, column, axis, direction)
            if k != entry and (a[1] >= 0.0) != (b[1] >= 0.0):
                u = a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1])
                if u > furthest:
                    furthest = u
                    leave = k
        # `not (.. <= 1)` also stops at a vertex behind the camera, which is NaN.
        if leave < 0 or not (furthest <= 1.0):
            step = MAX_WALK
        else:
            a = local(screen[batch, faces[face, leave]], row, column, axis, direction)
            b = local(screen[batch, faces[face, (leave + 1) % 3]], row, column, axis, direction)
            own = local(screen[batch, faces[face, (leave + 2) % 3]], row, column, axis, direction)
            twin = twins[face, leave]
            folds = twin < 0
            if twin >= 0:
                other = local(screen[batch, faces[twin / 3, (twin + 2) % 3]], row, column, axis, direction)
                folds = side(a, b, own) * side(a, b, other) > 0.0
            if folds:
                # Steep edges belong to one axis, flat ones to the other, so that no edge is blended twice.
                along = wp.abs(b[0] - a[0])
                across = wp.abs(b[1] - a[1])
                if along < across or (along == across and axis == 0):
                    found = face * 3 + leave
                step = MAX_WALK
            else:
                face = twin / 3
                entry = twin % 3
                if face == goal:
                    step = MAX_WALK
    return found


@wp.kernel
def find_silhouettes(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    twins: wp.array2d(dtype=wp.int32),
    triangle: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    axis: int,
    edges: wp.array3d(dtype=wp.int32),
):
    """Per pair of neighbours: the silhouette half-edge (3 face + corner) of the nearer surface between them, or -1."""
    batch, row, column = wp.tid()
    next_row = row + axis
    next_column = column + 1 - axis
    found = int(-1)
    if next_row < triangle.shape[1] and next_column < triangle.shape[2]:
        here = triangle[batch, row, column]
        there = triangle[batch, next_row, next_column]
        if here != there:
            if there < 0 or (here >= 0 and depth[batch, row, column] <= depth[batch, next_row, next_column]):
                found = walk_to_silhouette(screen, faces, twins, batch, row, column, axis, 1.0, here, there)
            else:
                found = walk_to_silhouette(screen, faces, twins, batch, next_row, next_column, axis, -1.0, there, here)
    edges[batch, row, column] = found


@wp.func
def crossing(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    edge: int,
    batch: int,
    row: int,
    column: int,
    axis: int,
) -> float:
    """Where between the pixel (0) and its neighbour (1) the edge passes."""
    a = local(screen[batch, faces[edge / 3, edge % 3]], row, column, axis, 1.0)
    b = local(screen[batch, faces[edge / 3, (edge % 3 + 1) % 3]], row, column, axis, 1.0)
    return wp.clamp(a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1]), 0.0, 1.0)


@wp.kernel
def blend(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    edges: wp.array3d(dtype=wp.int32),
    axis: int,
    image: wp.array4d(dtype=wp.float32),
    out: wp.array4d(dtype=wp.float32),
):
    """Mix each pixel with the neighbours whose surface reaches into its half of the pair. `out` starts as the image."""
    batch, row, column = wp.tid()
    edge = edges[batch, row, column]
    if edge >= 0:
        u = crossing(screen, faces, edge, batch, row, column, axis)
        if u < 0.5:
            for c in range(image.shape[3]):
                change = image[batch, row + axis, column + 1 - axis, c] - image[batch, row, column, c]
                out[batch, row, column, c] = out[batch, row, column, c] + (0.5 - u) * change
    row_before = row - axis
    column_before = column - 1 + axis
    if row_before >= 0 and column_before >= 0:
        edge = edges[batch, row_before, column_before]
        if edge >= 0:
            u = crossing(screen, faces, edge, batch, row_before, column_before, axis)
            if u > 0.5:
                for c in range(image.shape[3]):
                    change = image[batch, row_before, column_before, c] - image[batch, row, column, c]
                    out[batch, row, column, c] = out[batch, row, column, c] + (u - 0.5) * change


@wp.kernel
def blend_backward(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    edges: wp.array3d(dtype=wp.int32),
    axis: int,
    image: wp.array4d(dtype=wp.float32),
    grad_out: wp.array4d(dtype=wp.float32),
    grad_image: wp.array4d(dtype=wp.float32),
    grad_screen: wp.array2d(dtype=wp.vec2),
):
    """Adjoint of `blend`, per pair. `grad_image` starts as `grad_out`; both gradients are added to."""
    batch, row, column = wp.tid()
    edge = edges[batch, row, column]
    if edge >= 0:
        next_row = row + axis
        next_column = column + 1 - axis
        u = crossing(screen, faces, edge, batch, row, column, axis)
        weight = wp.abs(u - 0.5)
        to_row = wp.where(u < 0.5, row, next_row)
        to_column = wp.where(u < 0.5, column, next_column)
        from_row = wp.where(u < 0.5, next_row, row)
        from_column = wp.where(u < 0.5, next_column, column)
        grad_u = float(0.0)
        for c in range(image.shape[3]):
            g = grad_out[batch, to_row, to_column, c]
            grad_u += g * (image[batch, row, column, c] - image[batch, next_row, next_column, c])
            wp.atomic_add(grad_image, batch, to_row, to_column, c, -weight * g)
            wp.atomic_add(grad_image, batch, from_row, from_column, c, weight * g)
        i = faces[edge / 3, edge % 3]
        j = faces[edge / 3, (edge % 3 + 1) % 3]
        a = local(screen[batch, i], row, column, axis, 1.0)
        b = local(screen[batch, j], row, column, axis, 1.0)
        ratio = -a[1] / (b[1] - a[1])
        slope = (b[0] - a[0]) / (b[1] - a[1])
        along_a = grad_u * (1.0 - ratio)
        along_b = grad_u * ratio
        if axis == 0:
            wp.atomic_add(grad_screen, batch, i, wp.vec2(along_a, -along_a * slope))
            wp.atomic_add(grad_screen, batch, j, wp.vec2(along_b, -along_b * slope))
        else:
            wp.atomic_add(grad_screen, batch, i, wp.vec2(-along_a * slope, along_a))
            wp.atomic_add(grad_screen, batch, j, wp.vec2(-along_b * slope, along_b))
