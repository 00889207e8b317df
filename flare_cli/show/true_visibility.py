"""What the true surface sees of the light, for a shading model with shadows: traced on the true control mesh."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.render.geometry import vertex_normals
from flare_cli.render.light.visibility import trace_visibility
from flare_cli.render.raster.fragments import foreground, scatter
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.honest_rows import nearest_seen
from flare_cli.subject.truth import TrueMesh, Truth

# Over the sphere, from each vertex. Half of what a fit traces: 12 frames of 26,000 vertices are 40 million rays.
RAYS = 128


def true_visibility(truth: Truth, mesh: TrueMesh, rasterizer: Rasterizer, rays: int = RAYS) -> Float[Tensor, "N H W 9"]:
    """In nine harmonics and world axes, at every pixel; those that the mesh does not cover have their nearest's.

    The control mesh has neither relief nor strands of hair: as coarse as what an avatar traces.
    """
    camera = truth.camera
    seen, size = camera.camera_from_world[0], (camera.height, camera.width)
    pictures: list[Float[Tensor, "H W 9"]] = []
    for vertices in mesh.vertices:
        world = (vertices - seen[:, 3]) @ seen[:, :3]
        numbers = trace_visibility(world, vertex_normals(world[None], mesh.faces)[0], world, mesh.faces, rays)
        fragments = rasterizer.rasterize(camera.projections().clip(world[None]), mesh.faces, *size)
        pixels = foreground(fragments)
        drawn = rasterizer.interpolate(numbers[None], mesh.faces, fragments, pixels)
        shown = scatter(drawn, pixels, (1, *size), 0.0)[0]
        pictures.append(shown.flatten(0, 1)[nearest_seen(shown)].view_as(shown))
    return torch.stack(pictures)
