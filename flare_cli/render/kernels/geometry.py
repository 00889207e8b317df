"""Kernels on meshes. A vertex gathers from its faces or neighbours: nothing is added up by several threads at once.

`corners` lists the faces at each vertex, as (face, next vertex, vertex after that); `neighbours` lists the vertices at
the other ends of its edges. Those of vertex v are entries `offsets[v]` to before `offsets[v + 1]`.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

# Triangles may be tiny, but below this doubled area (metres squared: a tenth of a nanometre across) there is no normal,
# because rounding would decide it.
TINY = wp.constant(1.0e-20)


@wp.func
def area_vector(
    vertices: wp.array2d(dtype=wp.vec3), faces: wp.array2d(dtype=wp.int32), batch: int, face: int
) -> wp.vec3:
    """The face's normal, as long as twice its area (metres squared)."""
    a = vertices[batch, faces[face, 0]]
    return wp.cross(vertices[batch, faces[face, 1]] - a, vertices[batch, faces[face, 2]] - a)


@wp.func
def unit(v: wp.vec3) -> wp.vec3:
    """A vector of length 1; (nearly) zero stays zero."""
    return v / wp.max(wp.length(v), TINY)


@wp.func
def unit_backward(v: wp.vec3, g: wp.vec3) -> wp.vec3:
    """Adjoint of `unit` at v, given the gradient g of its result."""
    length = wp.length(v)
    if length < TINY:
        return wp.vec3(0.0)
    direction = v / length
    return (g - direction * wp.dot(g, direction)) / length


@wp.kernel
def area_vectors(
    vertices: wp.array2d(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.vec3i),
    total: wp.array2d(dtype=wp.vec3),
    normal: wp.array2d(dtype=wp.vec3),
):
    """One thread per vertex of [B V]: the sum of its faces' area vectors, and the unit normal along it."""
    batch, vertex = wp.tid()
    position = vertices[batch, vertex]
    sum_of_areas = wp.vec3(0.0)
    for i in range(offsets[vertex], offsets[vertex + 1]):
        corner = corners[i]
        sum_of_areas += wp.cross(vertices[batch, corner[1]] - position, vertices[batch, corner[2]] - position)
    total[batch, vertex] = sum_of_areas
    normal[batch, vertex] = unit(sum_of_areas)


@wp.kernel
def area_vector_gradients(
    faces: wp.array2d(dtype=wp.int32),
    total: wp.array2d(dtype=wp.vec3),
    grad_normal: wp.array2d(dtype=wp.vec3),
    area_grads: wp.array2d(dtype=wp.vec3),
):
    """One thread per face of [B F]: the gradient to its area vector, given those to the vertex normals.

    `total` is that of `area_vectors`.
    """
    batch, face = wp.tid()
    grad = wp.vec3(0.0)
    for k in range(3):
        vertex = faces[face, k]
        grad += unit_backward(total[batch, vertex], grad_normal[batch, vertex])
    area_grads[batch, face] = grad


@wp.kernel
def vertex_gradients(
    vertices: wp.array2d(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.vec3i),
    area_grads: wp.array2d(dtype=wp.vec3),
    grad_vertices: wp.array2d(dtype=wp.vec3),
):
    """One thread per vertex of [B V]: the gradient to its position, given those to its faces' area vectors.

    A face's area vector is a x b + b x c + c x a, so a gets (b - c) x its gradient.
    """
    batch, vertex = wp.tid()
    grad = wp.vec3(0.0)
    for i in range(offsets[vertex], offsets[vertex + 1]):
        corner = corners[i]
        grad += wp.cross(vertices[batch, corner[1]] - vertices[batch, corner[2]], area_grads[batch, corner[0]])
    grad_vertices[batch, vertex] = grad


@wp.kernel
def normal_consistency(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    twins: wp.array2d(dtype=wp.int32),
    error: wp.array(dtype=wp.float32),
    area_grads: wp.array2d(dtype=wp.vec3),
):
    """One thread per face: half of (1 - cos)^2 at each edge it shares, and its area vector's gradient.

    Half, because the face beyond the edge has the other half; `area_grads` is the derivative of the whole sum over all
    faces by this face's area vector. twins[F, 3] are half-edges as `twin_half_edges` gives them, vertices are [1, V].
    """
    face = wp.tid()
    area = area_vector(vertices, faces, 0, face)
    normal = unit(area)
    sum = float(0.0)
    grad = wp.vec3(0.0)
    for k in range(3):
        twin = twins[face, k]
        if twin >= 0:
            other_normal = unit(area_vector(vertices, faces, 0, twin / 3))
            bend = 1.0 - wp.dot(normal, other_normal)
            sum += 0.5 * bend * bend
            grad += other_normal * (-2.0 * bend)
    error[face] = sum
    area_grads[0, face] = unit_backward(area, grad)


@wp.kernel
def laplacian(
    values: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.int32),
    neighbours: wp.array(dtype=wp.int32),
    out: wp.array(dtype=wp.vec3),
):
    """One thread per vertex: the mean of its neighbours' values minus its own; zero where it has none."""
    vertex = wp.tid()
    first = offsets[vertex]
    last = offsets[vertex + 1]
    total = wp.vec3(0.0)
    for i in range(first, last):
        total += values[neighbours[i]]
    out[vertex] = wp.vec3(0.0)
    if last > first:
        out[vertex] = total / float(last - first) - values[vertex]


@wp.kernel
def laplacian_backward(
    offsets: wp.array(dtype=wp.int32),
    neighbours: wp.array(dtype=wp.int32),
    grad_out: wp.array(dtype=wp.vec3),
    grad_values: wp.array(dtype=wp.vec3),
):
    """Adjoint of `laplacian`, one thread per vertex: the gradient to its value.

    It gathers from its neighbours' entries of `grad_out`: being neighbours is mutual.
    """
    vertex = wp.tid()
    first = offsets[vertex]
    last = offsets[vertex + 1]
    total = wp.vec3(0.0)
    for i in range(first, last):
        other = neighbours[i]
        total += grad_out[other] / float(offsets[other + 1] - offsets[other])
    grad_values[vertex] = total
    if last > first:
        grad_values[vertex] = total - grad_out[vertex]
