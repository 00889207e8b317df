"""Find the nearest triangle under each pixel and interpolate over it (2D homogeneous rasterization).

A vertex is `(X, Y, w, d)`: pixel position times w, w, and the distance d to the near plane (cut where d < 0). Edge
functions are cross products of (X - x w, Y - y w) seen from a pixel centre (x, y). They are exact negatives of each
other on the two sides of a shared edge, so there is no crack and no overlap; nothing is divided by w, so a triangle may
reach behind the camera.
"""

import warp as wp

from flare_cli.render.kernels.addition import add_to_vertex, add_weighted_row

# Contracted multiply-adds would round the two sides of a shared edge differently.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})

EMPTY_KEY = 0x7FFFFFFFFFFFFFFF
EMPTY = wp.constant(wp.int64(EMPTY_KEY))
# Edge-on triangles have unbounded derivatives; below about this doubled area (pixels^2) they are damped. Not tuned:
# gradients agree with a float64 reference to 2e-3 (docs/backends.md).
AREA_FLOOR = wp.constant(wp.float32(1e-3))
# Pixels that bounding boxes are widened by: more than the rounding of a projected vertex (a float's steps are 1/2048 at
# 4,096 pixels).
SLACK = wp.constant(wp.float32(1.0 / 256.0))


@wp.kernel
def to_pixels(
    clip: wp.array2d(dtype=wp.vec4), half_width: float, half_height: float, vertices: wp.array2d(dtype=wp.vec4)
):
    """One thread per vertex of [B V]: clip position to (X, Y, w, d)."""
    batch, vertex = wp.tid()
    c = clip[batch, vertex]
    vertices[batch, vertex] = wp.vec4((c[0] + c[3]) * half_width, (c[1] + c[3]) * half_height, c[3], c[2] + c[3])


@wp.kernel
def to_pixels_backward(
    grad_vertices: wp.array2d(dtype=wp.vec4),
    half_width: float,
    half_height: float,
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    """Adjoint of `to_pixels`: the gradient to the clip position."""
    batch, vertex = wp.tid()
    g = grad_vertices[batch, vertex]
    x = g[0] * half_width
    y = g[1] * half_height
    grad_clip[batch, vertex] = wp.vec4(x, y, g[3], x + y + g[2] + g[3])


@wp.func
def seen_from(vertex: wp.vec4, x: float, y: float) -> wp.vec2:
    """A vertex's (X, Y) from the pixel centre (x, y): its offset in pixels, times w."""
    return wp.vec2(vertex[0] - x * vertex[2], vertex[1] - y * vertex[2])


@wp.func
def cross(a: wp.vec2, b: wp.vec2) -> float:
    """The third component of the cross product of two vectors in the plane."""
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def edge_functions(v0: wp.vec4, v1: wp.vec4, v2: wp.vec4, x: float, y: float) -> wp.vec3:
    """The three edge functions at a pixel centre; over their sum they are the barycentric coordinates."""
    p0 = seen_from(v0, x, y)
    p1 = seen_from(v1, x, y)
    p2 = seen_from(v2, x, y)
    return wp.vec3(cross(p1, p2), cross(p2, p0), cross(p0, p1))


@wp.func
def owns(a: wp.vec4, b: wp.vec4, side: float) -> wp.bool:
    """Top-left rule for a pixel centre exactly on edge ab: step right, then down; is that inside?"""
    right = (a[1] * b[2] - b[1] * a[2]) * side
    down = (b[0] * a[2] - a[0] * b[2]) * side
    return right > 0.0 or (right == 0.0 and down > 0.0)


@wp.func
def covers(e: wp.vec3, v0: wp.vec4, v1: wp.vec4, v2: wp.vec4) -> wp.bool:
    """Whether a triangle with these edge functions at a pixel centre covers it, seen from either side."""
    side = wp.sign(e[0] + e[1] + e[2])
    if e[0] * side < 0.0 or e[1] * side < 0.0 or e[2] * side < 0.0 or e[0] + e[1] + e[2] == 0.0:
        return False
    if e[0] == 0.0 and not owns(v1, v2, side):
        return False
    if e[1] == 0.0 and not owns(v2, v0, side):
        return False
    if e[2] == 0.0 and not owns(v0, v1, side):
        return False
    return True


@wp.func
def box_point(box: wp.vec4, x: float, y: float) -> wp.vec4:
    """The box (left, top, right, bottom), grown to hold a point."""
    return wp.vec4(wp.min(box[0], x), wp.min(box[1], y), wp.max(box[2], x), wp.max(box[3], y))


@wp.func
def box_edge(box: wp.vec4, a: wp.vec4, b: wp.vec4) -> wp.vec4:
    """Grow the box by a, if it is in front of the near plane, and by the point where ab meets that plane."""
    grown = box
    if a[3] >= 0.0 and a[2] > 0.0:
        grown = box_point(grown, a[0] / a[2], a[1] / a[2])
    if (a[3] < 0.0) != (b[3] < 0.0):
        t = a[3] / (a[3] - b[3])
        c = a + (b - a) * t
        if c[2] > 0.0:
            grown = box_point(grown, c[0] / c[2], c[1] / c[2])
    return grown


@wp.kernel
def nearest(
    vertices: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.int64),
    strands: int,
):
    """Find the nearest triangle at each pixel centre: `strands` threads per triangle of [B F] share the rows it spans.

    keys[B, H, W] start as `EMPTY` and end as the least of (bits of depth) << 32 | triangle.
    """
    batch, face, strand = wp.tid()
    v0 = vertices[batch, faces[face, 0]]
    v1 = vertices[batch, faces[face, 1]]
    v2 = vertices[batch, faces[face, 2]]
    box = wp.vec4(3.0e38, 3.0e38, -3.0e38, -3.0e38)
    box = box_edge(box, v0, v1)
    box = box_edge(box, v1, v2)
    box = box_edge(box, v2, v0)
    height = keys.shape[1]
    width = keys.shape[2]
    if box[0] <= float(width) and box[1] <= float(height) and box[2] >= 0.0 and box[3] >= 0.0:
        left = int(wp.ceil(wp.max(box[0], 0.0) - 0.5 - SLACK))
        top = int(wp.ceil(wp.max(box[1], 0.0) - 0.5 - SLACK))
        right = int(wp.floor(wp.min(box[2], float(width)) - 0.5 + SLACK))
        bottom = int(wp.floor(wp.min(box[3], float(height)) - 0.5 + SLACK))
        left = wp.max(left, 0)
        top = wp.max(top, 0)
        right = wp.min(right, width - 1)
        bottom = wp.min(bottom, height - 1)
        for row in range(top + strand, bottom + 1, strands):
            for column in range(left, right + 1):
                e = edge_functions(v0, v1, v2, float(column) + 0.5, float(row) + 0.5)
                if covers(e, v0, v1, v2):
                    b = e / (e[0] + e[1] + e[2])
                    w = b[0] * v0[2] + b[1] * v1[2] + b[2] * v2[2]
                    d = b[0] * v0[3] + b[1] * v1[3] + b[2] * v2[3]
                    if d >= 0.0 and w > 0.0:
                        # Bits of a positive float sort like the float; ties go to the lowest triangle.
                        key = (wp.int64(wp.cast(w, wp.int32)) << wp.int64(32)) | wp.int64(face)
                        if key < keys[batch, row, column]:
                            wp.atomic_min(keys, batch, row, column, key)


@wp.kernel
def resolve(
    vertices: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
    strands: int,
):
    """Unpack the keys of [B H W]: perspective-correct barycentric coordinates, and depth w; `strands` threads a row.

    A pixel that sees nothing gets triangle -1 and zeros.
    """
    batch, row, strand = wp.tid()
    for column in range(strand, keys.shape[2], strands):
        key = keys[batch, row, column]
        face = int(-1)
        b = wp.vec3(0.0)
        w = float(0.0)
        if key != EMPTY:
            face = int(key & wp.int64(0x7FFFFFFF))
            v0 = vertices[batch, faces[face, 0]]
            v1 = vertices[batch, faces[face, 1]]
            v2 = vertices[batch, faces[face, 2]]
            e = edge_functions(v0, v1, v2, float(column) + 0.5, float(row) + 0.5)
            b = e / (e[0] + e[1] + e[2])
            w = b[0] * v0[2] + b[1] * v1[2] + b[2] * v2[2]
        triangle[batch, row, column] = face
        barycentric[batch, row, column] = b
        depth[batch, row, column] = w


@wp.func
def pulled_back(g: wp.vec2, grad_w: float, x: float, y: float) -> wp.vec4:
    """The gradient to (X, Y, w, d), given that to the offset from pixel centre (x, y) and a part that goes to w."""
    return wp.vec4(g[0], g[1], grad_w - x * g[0] - y * g[1], 0.0)


@wp.kernel
def resolve_backward(
    vertices: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int32),
    triangle: wp.array3d(dtype=wp.int32),
    grad_barycentric: wp.array3d(dtype=wp.vec3),
    grad_depth: wp.array3d(dtype=wp.float32),
    grad_vertices: wp.array2d(dtype=wp.vec4),
):
    """Adjoint of `resolve`, one thread per pixel of [B H W]: adds to grad_vertices[B, V], that of (X, Y, w, d).

    Barycentric coordinates and depth depend on the three vertices; which triangle is seen does not.
    """
    batch, row, column = wp.tid()
    face = triangle[batch, row, column]
    if face >= 0:
        i0 = faces[face, 0]
        i1 = faces[face, 1]
        i2 = faces[face, 2]
        v0 = vertices[batch, i0]
        v1 = vertices[batch, i1]
        v2 = vertices[batch, i2]
        x = float(column) + 0.5
        y = float(row) + 0.5
        p0 = seen_from(v0, x, y)
        p1 = seen_from(v1, x, y)
        p2 = seen_from(v2, x, y)
        e = wp.vec3(cross(p1, p2), cross(p2, p0), cross(p0, p1))
        total = e[0] + e[1] + e[2]
        b = e / total
        ws = wp.vec3(v0[2], v1[2], v2[2])
        g_depth = grad_depth[batch, row, column]
        g_b = grad_barycentric[batch, row, column] + ws * g_depth
        floor = AREA_FLOOR * wp.dot(b, ws) * wp.dot(b, ws)
        g_e = (g_b - wp.vec3(1.0) * wp.dot(g_b, b)) * (total / (total * total + floor * floor))
        g0 = wp.vec2(g_e[2] * p1[1] - g_e[1] * p2[1], g_e[1] * p2[0] - g_e[2] * p1[0])
        g1 = wp.vec2(g_e[0] * p2[1] - g_e[2] * p0[1], g_e[2] * p0[0] - g_e[0] * p2[0])
        g2 = wp.vec2(g_e[1] * p0[1] - g_e[0] * p1[1], g_e[0] * p1[0] - g_e[1] * p0[0])
        add_to_vertex(grad_vertices, batch, i0, pulled_back(g0, g_depth * b[0], x, y))
        add_to_vertex(grad_vertices, batch, i1, pulled_back(g1, g_depth * b[1], x, y))
        add_to_vertex(grad_vertices, batch, i2, pulled_back(g2, g_depth * b[2], x, y))


@wp.kernel
def interpolate(
    attributes: wp.array3d(dtype=wp.float32),
    faces: wp.array2d(dtype=wp.int32),
    triangle: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3),
    index: wp.array(dtype=wp.int64),
    batch: wp.array(dtype=wp.int64),
    out: wp.array2d(dtype=wp.float32),
):
    """One thread per listed pixel: attributes[A, V, C] of its triangle's vertices, blended into out[P, C].

    `index` is flat into `triangle` and `barycentric` [B H W]; an index past the end is padding and gives zeros. A is B,
    or 1 where one set of attributes serves all pictures.
    """
    pixel = wp.tid()
    flat = int(index[pixel])
    if flat >= triangle.shape[0]:  # padding
        for c in range(attributes.shape[2]):
            out[pixel, c] = 0.0
        return
    item = wp.min(int(batch[pixel]), attributes.shape[0] - 1)
    face = triangle[flat]
    b = barycentric[flat]
    i0 = faces[face, 0]
    i1 = faces[face, 1]
    i2 = faces[face, 2]
    for c in range(attributes.shape[2]):
        out[pixel, c] = b[0] * attributes[item, i0, c] + b[1] * attributes[item, i1, c] + b[2] * attributes[item, i2, c]


@wp.kernel
def interpolate_backward(
    attributes: wp.array3d(dtype=wp.float32),
    faces: wp.array2d(dtype=wp.int32),
    triangle: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3),
    index: wp.array(dtype=wp.int64),
    batch: wp.array(dtype=wp.int64),
    grad_out: wp.array2d(dtype=wp.float32),
    grad_attributes: wp.array3d(dtype=wp.float32),
    grad_barycentric: wp.array(dtype=wp.vec3),
    wants_attributes: wp.bool,
):
    """Adjoint of `interpolate`, one thread per listed pixel: gradients to attributes and barycentric coordinates.

    Adds to grad_attributes[A, V, C] where wanted; writes grad_barycentric[B H W] (zeros to begin with) at its pixel.
    """
    pixel = wp.tid()
    flat = int(index[pixel])
    if flat >= triangle.shape[0]:  # padding
        return
    item = wp.min(int(batch[pixel]), attributes.shape[0] - 1)
    face = triangle[flat]
    b = barycentric[flat]
    i0 = faces[face, 0]
    i1 = faces[face, 1]
    i2 = faces[face, 2]
    g_b = wp.vec3(0.0)
    for c in range(attributes.shape[2]):
        g = grad_out[pixel, c]
        g_b += g * wp.vec3(attributes[item, i0, c], attributes[item, i1, c], attributes[item, i2, c])
    if wants_attributes:
        add_weighted_row(grad_attributes, item, i0, grad_out, pixel, b[0])
        add_weighted_row(grad_attributes, item, i1, grad_out, pixel, b[1])
        add_weighted_row(grad_attributes, item, i2, grad_out, pixel, b[2])
    grad_barycentric[flat] = g_b
