"""What a point of a surface can see of what is far away: shadow rays against a triangle mesh."""

import warp as wp

from flare_cli.render.kernels.summed_light import harmonics

wp.set_module_options({"enable_backward": False})


@wp.func
def weight_of(cosine: float, grazing: float) -> float:
    """How much a direction counts, by its cosine to the normal: as for a matte surface, and some for glancing light."""
    return wp.where(cosine > 0.0, cosine + grazing, 0.0)


@wp.kernel
def project_seen(
    mesh: wp.uint64,
    position: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3),
    direction: wp.array(dtype=wp.vec3),
    basis: wp.array(dtype=harmonics),
    grazing: float,
    off_surface: float,
    far: float,
    seen: wp.array(dtype=harmonics),
):
    """One thread per point: the weighted sum of the harmonics of the directions above its horizon that nothing blocks.

    Rays start `off_surface` metres above the point, along its unit normal, and reach `far` metres. Both sides of
    triangles block.
    """
    point = wp.tid()
    n = normal[point]
    start = position[point] + n * off_surface
    total = harmonics()
    for k in range(direction.shape[0]):
        weight = weight_of(wp.dot(n, direction[k]), grazing)
        if weight > 0.0:
            if not wp.mesh_query_ray_anyhit(mesh, start, direction[k], far):
                total += basis[k] * weight
    seen[point] = total
