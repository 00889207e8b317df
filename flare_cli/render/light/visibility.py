"""What points of a mesh see of the light around: traced, in nine harmonics each."""

from __future__ import annotations

import math

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.kernels import visibility as kernels
from flare_cli.render.launch import Each, launch, vectors
from flare_cli.render.light.sphere import ONE, even_directions, harmonics

# Metres that rays start off the surface: a little more than the height of a sphere of 8 cm radius over its 10 mm
# chords, so that a coarse head does not shadow itself. Not tuned.
OFF_SURFACE = 5e-4
FAR = 2.0  # metres that rays reach: more than a head and its shoulders
# How much light along the surface counts in the nine numbers, beside a matte surface's n.l, and how hard they are held
# to "all is seen" where the directions above the horizon leave them open. On the open head (3,348 outer vertices, 512
# directions) these leave 0.17 of each direction's visibility, weighted by n.l, and 2 % of irradiance wrong; the
# projection of what is seen, which has the horizon to describe too, leaves 0.21 and 7 %.
GRAZING, RIDGE = 0.2, 1e-2


def trace_visibility(
    points: Float[Tensor, "P 3"],
    normals: Float[Tensor, "P 3"],
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    rays: int,
) -> Float[Tensor, "P 9"]:
    """Visibility at points on (or near) a mesh, by `rays` over the sphere. Metres; normals are unit.

    Nine harmonics whose function is nearest to what is seen, 0 or 1, of the directions above each point's horizon, and
    1 where nothing is in the way. Below the horizon it means nothing. Shading clamps it to 0..1.
    """
    directions = even_directions(rays).to(points)
    basis = harmonics(directions)
    points, normals, vertices = (t.detach().float().contiguous() for t in (points, normals, vertices))
    indices, seen = faces.int().flatten().contiguous(), points.new_empty(len(points), 9)
    # Warp builds the hierarchy on its own stream: wait for torch before, and for the kernel before it is freed.
    wp.synchronize_device(wp.device_from_torch(points.device))
    mesh = wp.Mesh(wp.from_torch(vertices, dtype=wp.vec3), wp.from_torch(indices))
    surface = [Each(points, of_vectors=True), Each(normals, of_vectors=True)]
    settings = [vectors(directions), vectors(basis), GRAZING, OFF_SURFACE, FAR]
    launch(
        kernels.project_seen, len(points), points.device, [mesh.id, *surface, *settings, Each(seen, of_vectors=True)]
    )
    wp.synchronize_device(wp.device_from_torch(points.device))
    return _least_squares(seen, normals @ directions.T, basis)


def _least_squares(
    seen: Float[Tensor, "P 9"], cosine: Float[Tensor, "P R"], basis: Float[Tensor, "R 9"]
) -> Float[Tensor, "P 9"]:
    """The numbers whose function is nearest to what was seen, each direction weighted as in `seen`."""
    weight = torch.where(cosine > 0, cosine + GRAZING, 0.0)
    products = (basis[:, :, None] * basis[:, None]).flatten(1)
    matrix = (weight @ products).unflatten(1, (9, 9))
    ridge = RIDGE * len(basis) / (4 * math.pi) * torch.eye(9).to(basis)
    return torch.linalg.solve(matrix + ridge, (seen + ridge[0] * ONE)[..., None])[..., 0]
