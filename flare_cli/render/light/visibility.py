"""What points of a mesh see of the light around: traced, in nine harmonics each."""

from __future__ import annotations

import math

import torch
import warp as wp
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flare_cli.render.kernels import visibility as kernels
from flare_cli.render.launch import Each, launch, vectors
from flare_cli.render.light.sphere import ONE, even_directions, harmonics

# Metres that rays start off the surface: a little more than the height of a sphere of 8 cm radius over its 10 mm
# chords, so that a coarse head does not shadow itself. Not tuned.
OFF_SURFACE = 5e-4
FAR = 2.0  # metres that rays reach: more than a head and its shoulders
# How much light along the surface counts in the nine numbers, beside a matte surface's n.l; how hard they are held to
# "all is seen" where the directions above the horizon leave them open; how often they are solved again without what
# the clamp cuts off. On outer vertices of two fitted heads these leave 0.15 of each direction's visibility, weighted
# by n.l, and 0.3 % of irradiance wrong; in open mouths 0.1 % of what comes from behind the head gets in (1e-2, 3 rounds
# and no smooth step: 0.17, 1 and 1.5 %; docs/experiments.md, "Eighteen recordings").
GRAZING, RIDGE, ROUNDS = 0.2, 1e-3, 8


def trace_visibility(
    points: Float[Tensor, "P 3"],
    normals: Float[Tensor, "P 3"],
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    rays: int,
) -> Float[Tensor, "P 9"]:
    """Visibility at points on (or near) a mesh, by `rays` over the sphere. Metres; normals are unit.

    Nine harmonics whose function is nearest to what is seen, 0 or 1, of the directions above each point's horizon, and
    1 where nothing is in the way. Below the horizon it means nothing. Shading takes a smooth step of it, from 0 to 1.
    """
    directions = even_directions(rays).to(points)
    points, normals, vertices = (t.detach().float().contiguous() for t in (points, normals, vertices))
    indices = faces.int().flatten().contiguous()
    seen = torch.empty(len(points), rays, dtype=torch.uint8, device=points.device)
    # Warp builds the hierarchy on its own stream: wait for torch before, and for the kernel before it is freed.
    wp.synchronize_device(wp.device_from_torch(points.device))
    mesh = wp.Mesh(wp.from_torch(vertices, dtype=wp.vec3), wp.from_torch(indices))
    surface = [Each(points, of_vectors=True), Each(normals, of_vectors=True)]
    launch(
        kernels.trace_seen,
        len(points),
        points.device,
        [mesh.id, *surface, vectors(directions), OFF_SURFACE, FAR, Each(seen)],
    )
    wp.synchronize_device(wp.device_from_torch(points.device))
    return _nearest_harmonics(seen, normals @ directions.T, harmonics(directions))


def _nearest_harmonics(
    seen: UInt8[Tensor, "P R"], cosine: Float[Tensor, "P R"], basis: Float[Tensor, "R 9"]
) -> Float[Tensor, "P 9"]:
    """The numbers whose function, clamped to 0..1, is nearest to what was seen of the directions above the horizon."""
    weight = torch.where(cosine > 0, cosine + GRAZING, 0.0) * (4 * math.pi / len(basis))
    products = (basis[:, :, None] * basis[:, None]).flatten(1)
    matrix = (weight @ products).unflatten(1, (9, 9)) + RIDGE * torch.eye(9).to(basis)
    all_seen = torch.zeros(9).to(basis)
    all_seen[0] = ONE

    def nearest_to(target: Float[Tensor, "P R"]) -> Float[Tensor, "P 9"]:
        return torch.linalg.solve(matrix, ((weight * target) @ basis + RIDGE * all_seen)[..., None])[..., 0]

    numbers = nearest_to(seen.to(basis))
    for _ in range(ROUNDS):
        value = numbers @ basis.T
        # Beyond 0 and 1 shading clamps: there is nothing to correct where what was seen lies at that end.
        numbers = nearest_to(torch.where(seen.bool(), value.clamp(min=1), value.clamp(max=0)))
    return numbers
