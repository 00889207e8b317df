"""What a point of a surface can see of what is far away: shadow rays against a triangle mesh."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def trace_seen(
    mesh: wp.uint64,
    position: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    direction: wp.array(dtype=wp.vec3),
    off_surface: float,
    far: float,
    seen: wp.array2d(dtype=wp.uint8),
):
    """One thread per point: seen[point, k] is 1 where direction k is above its horizon and nothing blocks it, else 0.

    Rays start `off_surface` metres above the point, along its unit normal, and reach `far` metres. Both sides of
    triangles block.
    """
    point = wp.tid()
    n = normal[point]
    start = position[point] + n * off_surface
    for k in range(direction.shape[0]):
        is_seen = wp.dot(n, direction[k]) > 0.0
        if is_seen:
            is_seen = not wp.mesh_query_ray_anyhit(mesh, start, direction[k], far)
        seen[point, k] = wp.where(is_seen, wp.uint8(1), wp.uint8(0))
