"""Kernels that find silhouette edges between neighbouring pixels and blend across them, with gradients to the edge.

`axis` 0 pairs a pixel with its right neighbour, 1 with the one below. In a pair's own frame u runs along the axis from
pixel to neighbour (0 to 1) and v across it. A picture is blended along rows first and then, what came of it, along
columns.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

# Pairs are numbered 2 (row * width + column) + axis within a picture. They are sifted twice: first the pairs that see
# two triangles without a common edge are listed (`seams`), then those of them with a silhouette between (`pairs`). Only
# the pixels of the latter are blended (docs/experiments.md, "Silhouettes where they are").
#
# The `lean` of a pair is how much of its second pixel shows the surface of the first one; below 0 it is the other way
# round. Lists have no fixed order, which does not show: a pixel's value does not depend on it.

# Triangles crossed between two pixel centres before the walk gives up: at a silhouette many are seen edge-on, as
# slivers. 64 was not tuned.
MAX_WALK = wp.constant(64)


@wp.kernel
def to_screen(
    clip: wp.array2d(dtype=wp.vec4), half_width: float, half_height: float, screen: wp.array2d(dtype=wp.vec2)
):
    """One thread per vertex of [B V]: its position in pixels; NaN where the near plane z = -w cuts it off."""
    batch, vertex = wp.tid()
    c = clip[batch, vertex]
    position = wp.vec2(wp.nan, wp.nan)
    if c[2] + c[3] >= 0.0 and c[3] > 0.0:
        position = wp.vec2((c[0] + c[3]) * half_width / c[3], (c[1] + c[3]) * half_height / c[3])
    screen[batch, vertex] = position


@wp.kernel
def to_screen_backward(
    clip: wp.array2d(dtype=wp.vec4),
    half_width: float,
    half_height: float,
    grad_screen: wp.array2d(dtype=wp.vec2),
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    """Adjoint of `to_screen`: the gradient to the clip position, zero for vertices that are cut off."""
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
    """A screen point (pixels) in the frame of a pair that starts at this pixel and runs along `direction` of `axis`."""
    x = position[0] - (float(column) + 0.5)
    y = position[1] - (float(row) + 0.5)
    if axis == 0:
        return wp.vec2(x * direction, y)
    return wp.vec2(y * direction, x)


@wp.func
def side_of_line(a: wp.vec2, b: wp.vec2, p: wp.vec2) -> float:
    """Twice the signed area of the triangle a, b, p: its sign says on which side of the line ab the point p is."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


@wp.func
def meets_axis(a: wp.vec2, b: wp.vec2) -> float:
    """Where (u) the line between two points, one on either side of v = 0, crosses it."""
    return a[0] - a[1] * (b[0] - a[0]) / (b[1] - a[1])


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
    """Walk over the surface from a pixel's centre toward the next pixel's, triangle by triangle.

    Starts in triangle `start`. Returns the half-edge (3 face + corner) where the surface ends or folds away from the
    viewer; -1 where it goes on as far as the next centre or into triangle `goal`, or where the edge belongs to pairs
    along the other axis.
    """
    face = int(start)
    # The half-edge by which we leave the face, from a (vertex `first`) to b, and the face's third corner.
    corner = int(-1)
    first = int(-1)
    a = wp.vec2()
    b = wp.vec2()
    third = wp.vec2()
    u = float(-1.0e30)
    v0 = local(screen[batch, faces[face, 0]], row, column, axis, direction)
    v1 = local(screen[batch, faces[face, 1]], row, column, axis, direction)
    v2 = local(screen[batch, faces[face, 2]], row, column, axis, direction)
    for k in range(3):
        if (v0[1] >= 0.0) != (v1[1] >= 0.0) and meets_axis(v0, v1) > u:
            corner = k
            a = v0
            b = v1
            third = v2
            u = meets_axis(a, b)
        turned = v0
        v0 = v1
        v1 = v2
        v2 = turned
    if corner < 0:
        return -1
    first = faces[face, corner]
    for _ in range(MAX_WALK):
        # `not (.. <= 1)` also stops at a vertex behind the camera, which is NaN.
        if not (u <= 1.0):
            return -1
        twin = twins[face, corner]
        folds = twin < 0
        other = wp.vec2()
        if twin >= 0:
            other = local(screen[batch, faces[twin / 3, (twin + 2) % 3]], row, column, axis, direction)
            folds = side_of_line(a, b, third) * side_of_line(a, b, other) > 0.0
        if folds:
            # Steep edges belong to one axis, flat ones to the other, so that no edge is blended twice.
            along = wp.abs(b[0] - a[0])
            across = wp.abs(b[1] - a[1])
            if along < across or (along == across and axis == 0):
                return face * 3 + corner
            return -1
        if twin / 3 == goal:
            return -1
        face = twin / 3
        corner = twin % 3
        # In the new face the half-edge runs the other way round, as in every well-wound mesh, or the same way.
        same = faces[face, corner] == first
        start_of = wp.where(same, a, b)
        end_of = wp.where(same, b, a)
        # One of the two others leaves it: from its end to the new corner, or from there to its start.
        ahead = (end_of[1] >= 0.0) != (other[1] >= 0.0)
        a = wp.where(ahead, end_of, other)
        b = wp.where(ahead, other, start_of)
        third = wp.where(ahead, start_of, end_of)
        corner = (corner + wp.where(ahead, 1, 2)) % 3
        first = faces[face, corner]
        u = meets_axis(a, b)
    return -1


@wp.func_native(
    """
    #if defined(__CUDA_ARCH__)
    // One addition for all threads of a warp that come here together: all want the same counter.
    const unsigned together = __match_any_sync(__activemask(), batch);
    const int first = __ffs(together) - 1;
    const int lane = threadIdx.x & 31;
    int start = 0;
    if (lane == first) start = atomicAdd(counts.data + batch, __popc(together));
    return __shfl_sync(together, start, first) + __popc(together & ((1u << lane) - 1u));
    #else
    return counts.data[batch]++;
    #endif
    """
)
def reserve(counts: wp.array(dtype=wp.int32), batch: int) -> int:
    """A place at the end of a picture's list: its number, which is counted up."""


@wp.func
def pixel_of(pair: int, end: int, width: int) -> wp.vec2i:
    """Row and column of the first (`end` 0) or second (1) pixel of a pair."""
    axis = pair & 1
    pixel = pair >> 1
    return wp.vec2i(pixel / width + end * axis, pixel % width + end * (1 - axis))


@wp.func
def share_an_edge(twins: wp.array2d(dtype=wp.int32), face: int, other: int) -> wp.bool:
    """Whether two triangles have an edge in common."""
    shared = wp.bool(False)
    for k in range(3):
        twin = twins[face, k]
        shared = shared or (twin >= 0 and twin / 3 == other)
    return shared


@wp.kernel
def list_seams(
    twins: wp.array2d(dtype=wp.int32),
    triangle: wp.array2d(dtype=wp.int32),
    width: int,
    leans: wp.array2d(dtype=wp.float32),
    counts: wp.array(dtype=wp.int32),
    seams: wp.array2d(dtype=wp.int32),
):
    """One thread per pixel of [B, H W]: list its pairs between which the surface may end, and clear its leans.

    Those are the pairs that see two different triangles without a common edge, or a triangle and nothing. `counts` says
    how many of them each picture's row of `seams` holds, in no fixed order.
    """
    batch, pixel = wp.tid()
    face = triangle[batch, pixel]
    for axis in range(2):
        next_face = face
        if axis == 0:
            if (pixel + 1) % width != 0:
                next_face = triangle[batch, pixel + 1]
        elif pixel + width < triangle.shape[1]:
            next_face = triangle[batch, pixel + width]
        seam = face != next_face
        if seam and face >= 0 and next_face >= 0:
            seam = not share_an_edge(twins, face, next_face)
        if seam:
            seams[batch, reserve(counts, batch)] = 2 * pixel + axis
        leans[batch, 2 * pixel + axis] = 0.0


@wp.kernel
def find_silhouettes(
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    twins: wp.array2d(dtype=wp.int32),
    triangle: wp.array2d(dtype=wp.int32),
    depth: wp.array2d(dtype=wp.float32),
    width: int,
    seam_counts: wp.array(dtype=wp.int32),
    seams: wp.array2d(dtype=wp.int32),
    strands: int,
    leans: wp.array2d(dtype=wp.float32),
    counts: wp.array(dtype=wp.int32),
    pairs: wp.array2d(dtype=wp.int32),
    edges: wp.array2d(dtype=wp.int32),
):
    """Of the pairs in `seams`, list those with a silhouette of the nearer surface between their pixels.

    `strands` threads share a picture's list. Writes the pair, its half-edge (3 face + corner) and its lean: where the
    edge crosses the line between the centres (0 to 1), minus a half.
    """
    batch, strand = wp.tid()
    for k in range(strand, seam_counts[batch], strands):
        pair = seams[batch, k]
        axis = pair & 1
        pixel = pair >> 1
        next_pixel = pixel + wp.where(axis == 0, 1, width)
        face = triangle[batch, pixel]
        next_face = triangle[batch, next_pixel]
        forward = next_face < 0
        if face >= 0 and next_face >= 0:
            forward = depth[batch, pixel] <= depth[batch, next_pixel]
        start_pixel = pixel_of(pair, wp.where(forward, 0, 1), width)
        direction = wp.where(forward, 1.0, -1.0)
        start_face = wp.where(forward, face, next_face)
        goal_face = wp.where(forward, next_face, face)
        edge = walk_to_silhouette(
            screen, faces, twins, batch, start_pixel[0], start_pixel[1], axis, direction, start_face, goal_face
        )
        if edge >= 0:
            first = pixel_of(pair, 0, width)
            a = local(screen[batch, faces[edge / 3, edge % 3]], first[0], first[1], axis, 1.0)
            b = local(screen[batch, faces[edge / 3, (edge % 3 + 1) % 3]], first[0], first[1], axis, 1.0)
            leans[batch, pair] = wp.clamp(meets_axis(a, b), 0.0, 1.0) - 0.5
            slot = reserve(counts, batch)
            pairs[batch, slot] = pair
            edges[batch, slot] = edge


@wp.func
def leans_of(leans: wp.array2d(dtype=wp.float32), width: int, batch: int, axis: int, row: int, column: int) -> wp.vec2:
    """The leans of a pixel's pairs along `axis`, with the pixel before it and with the one after it."""
    pair = 2 * (row * width + column) + axis
    before = float(0.0)
    if (axis == 0 and column > 0) or (axis == 1 and row > 0):
        before = leans[batch, pair - 2 * wp.where(axis == 0, 1, width)]
    return wp.vec2(before, leans[batch, pair])


@wp.func
def shares(leans: wp.array2d(dtype=wp.float32), width: int, batch: int, axis: int, row: int, column: int) -> wp.vec2:
    """How much of a pixel shows the surface of the pixel before it and of the one after it along `axis`, 0 to 0.5."""
    around = leans_of(leans, width, batch, axis, row, column)
    return wp.vec2(wp.max(around[0], 0.0), wp.max(-around[1], 0.0))


@wp.func
def along_row(image: wp.array4d(dtype=wp.float32), batch: int, row: int, column: int, c: int, share: wp.vec2) -> float:
    """A pixel's value, blended with those to its left and right by the `share` of each."""
    unblended = image[batch, row, column, c]
    value = unblended
    if share[1] > 0.0:
        value += share[1] * (image[batch, row, column + 1, c] - unblended)
    if share[0] > 0.0:
        value += share[0] * (image[batch, row, column - 1, c] - unblended)
    return value


@wp.kernel
def blend(
    leans: wp.array2d(dtype=wp.float32),
    counts: wp.array(dtype=wp.int32),
    pairs: wp.array2d(dtype=wp.int32),
    strands: int,
    image: wp.array4d(dtype=wp.float32),
    out: wp.array4d(dtype=wp.float32),
):
    """Mix the pixels of the listed pairs with neighbours whose surface reaches into them.

    `strands` threads share a picture's list. image[B, H, W, C] is read, and `out` starts as a copy of it. A pixel of
    several pairs is written several times, with the same value.
    """
    batch, strand = wp.tid()
    width = image.shape[2]
    for k in range(strand, 2 * counts[batch], strands):
        pixel = pixel_of(pairs[batch, k / 2], k & 1, width)
        row = pixel[0]
        column = pixel[1]
        flat = shares(leans, width, batch, 0, row, column)
        steep = shares(leans, width, batch, 1, row, column)
        above = wp.vec2()
        below = wp.vec2()
        if steep[0] > 0.0:
            above = shares(leans, width, batch, 0, row - 1, column)
        if steep[1] > 0.0:
            below = shares(leans, width, batch, 0, row + 1, column)
        for c in range(image.shape[3]):
            along_own_row = along_row(image, batch, row, column, c, flat)
            value = along_own_row
            if steep[1] > 0.0:
                value += steep[1] * (along_row(image, batch, row + 1, column, c, below) - along_own_row)
            if steep[0] > 0.0:
                value += steep[0] * (along_row(image, batch, row - 1, column, c, above) - along_own_row)
            out[batch, row, column, c] = value


@wp.func
def kept_by_column(
    grad_out: wp.array4d(dtype=wp.float32), batch: int, row: int, column: int, c: int, leans: wp.vec2
) -> float:
    """The gradient to a pixel as it was before columns were blended, from its leans along the column."""
    grad = grad_out[batch, row, column, c] * (1.0 - wp.max(leans[0], 0.0) - wp.max(-leans[1], 0.0))
    if leans[1] > 0.0:
        grad += leans[1] * grad_out[batch, row + 1, column, c]
    if leans[0] < 0.0:
        grad -= leans[0] * grad_out[batch, row - 1, column, c]
    return grad


@wp.func
def add_to_edge(
    leans: wp.array2d(dtype=wp.float32),
    width: int,
    batch: int,
    pair: int,
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    edge: int,
    image: wp.array4d(dtype=wp.float32),
    grad_out: wp.array4d(dtype=wp.float32),
    grad_screen: wp.array2d(dtype=wp.vec2),
):
    """Carry the gradient to where an edge crosses a pair on to the screen positions (pixels) of the edge's ends."""
    axis = pair & 1
    first = pixel_of(pair, 0, width)
    second = pixel_of(pair, 1, width)
    end = first
    if leans[batch, pair] >= 0.0:
        end = second
    grad_u = float(0.0)
    if axis == 0:
        steep = leans_of(leans, width, batch, 1, end[0], end[1])
        for c in range(image.shape[3]):
            change = image[batch, first[0], first[1], c] - image[batch, second[0], second[1], c]
            grad_u += kept_by_column(grad_out, batch, end[0], end[1], c, steep) * change
    else:
        flat_first = shares(leans, width, batch, 0, first[0], first[1])
        flat_second = shares(leans, width, batch, 0, second[0], second[1])
        for c in range(image.shape[3]):
            change = along_row(image, batch, first[0], first[1], c, flat_first)
            change -= along_row(image, batch, second[0], second[1], c, flat_second)
            grad_u += grad_out[batch, end[0], end[1], c] * change
    i = faces[edge / 3, edge % 3]
    j = faces[edge / 3, (edge % 3 + 1) % 3]
    a = local(screen[batch, i], first[0], first[1], axis, 1.0)
    b = local(screen[batch, j], first[0], first[1], axis, 1.0)
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


@wp.kernel
def blend_backward(
    leans: wp.array2d(dtype=wp.float32),
    counts: wp.array(dtype=wp.int32),
    pairs: wp.array2d(dtype=wp.int32),
    strands: int,
    screen: wp.array2d(dtype=wp.vec2),
    faces: wp.array2d(dtype=wp.int32),
    edges: wp.array2d(dtype=wp.int32),
    image: wp.array4d(dtype=wp.float32),
    grad_out: wp.array4d(dtype=wp.float32),
    grad_image: wp.array4d(dtype=wp.float32),
    grad_screen: wp.array2d(dtype=wp.vec2),
):
    """Adjoint of `blend`, shared out as that is: gradients to the image and to the silhouettes' vertices.

    `grad_image` starts as a copy of grad_out[B, H, W, C]; to grad_screen[B, V], the gradient to the vertices' positions
    in pixels, each pair adds those of its edge's two ends.
    """
    batch, strand = wp.tid()
    width = image.shape[2]
    for k in range(strand, 2 * counts[batch], strands):
        pair = pairs[batch, k / 2]
        pixel = pixel_of(pair, k & 1, width)
        row = pixel[0]
        column = pixel[1]
        flat = leans_of(leans, width, batch, 0, row, column)
        steep = leans_of(leans, width, batch, 1, row, column)
        steep_left = wp.vec2()
        steep_right = wp.vec2()
        if flat[0] < 0.0:
            steep_left = leans_of(leans, width, batch, 1, row, column - 1)
        if flat[1] > 0.0:
            steep_right = leans_of(leans, width, batch, 1, row, column + 1)
        for c in range(image.shape[3]):
            from_own_column = kept_by_column(grad_out, batch, row, column, c, steep)
            grad = from_own_column * (1.0 - wp.max(flat[0], 0.0) - wp.max(-flat[1], 0.0))
            if flat[0] < 0.0:
                grad -= flat[0] * kept_by_column(grad_out, batch, row, column - 1, c, steep_left)
            if flat[1] > 0.0:
                grad += flat[1] * kept_by_column(grad_out, batch, row, column + 1, c, steep_right)
            grad_image[batch, row, column, c] = grad
        if k & 1 == 0:
            add_to_edge(leans, width, batch, pair, screen, faces, edges[batch, k / 2], image, grad_out, grad_screen)
