"""What the pixels of some pictures see, as maps that no longer know of a mesh; and those maps under a light.

An avatar draws such maps, and the truth of a synthetic subject is such maps: one that replaces another shows what it is
worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.render.camera import Cameras
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light, facing_normal_and_view, shade

CHUNK = 1 << 20  # pixels shaded at once: some 300 MB of a network's features


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceMaps:
    """N pictures of a head without its light; 0 where nothing is seen.

    Normals are in camera axes (OpenCV), so that maps of worlds that differ can be compared; depth is along the camera's
    axis in metres. `specular` is the intensity of a lobe whose reflectance at normal incidence is `f0`. `visibility` is
    what arrives of a light that is summed, in nine harmonics and in the world of the camera; None: all of it.
    """

    coverage: Float[Tensor, "N H W"]
    albedo: Float[Tensor, "N H W 3"]
    roughness: Float[Tensor, "N H W"]
    specular: Float[Tensor, "N H W"]
    f0: Float[Tensor, "N H W"]
    normal: Float[Tensor, "N H W 3"]
    depth: Float[Tensor, "N H W"]
    visibility: Float[Tensor, "N H W 9"] | None = None

    @staticmethod
    def joined(parts: Sequence[SurfaceMaps]) -> SurfaceMaps:
        """The pictures of all parts, in order."""
        names = [field.name for field in fields(SurfaceMaps) if getattr(parts[0], field.name) is not None]
        return SurfaceMaps(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def shade_maps(maps: SurfaceMaps, light: Light | SummedLight, camera: Cameras) -> Float[Tensor, "N H W 3"]:
    """Linear radiance over black of maps seen by one `camera`, under a `light` in the world of that camera.

    The shading model of every avatar (`render/light/shading.py`); dimmed by coverage at the outline.
    """
    world_from_camera = camera.camera_from_world[0, :, :3].T
    radiance = torch.zeros_like(maps.albedo)
    seen = torch.nonzero((maps.coverage > 0) & (maps.normal.square().sum(-1) > 0))
    rays = pixel_rays(camera)
    for part in seen.split(CHUNK):
        n, row, column = at = part.unbind(1)
        surface = torch.cat([rays[row, column] @ world_from_camera.T, maps.normal[at] @ world_from_camera.T], 1)
        normal, view = facing_normal_and_view(surface, torch.zeros_like(surface[:1, :3]), torch.zeros_like(n))
        roughness, specular, f0 = (values[at][:, None] for values in (maps.roughness, maps.specular, maps.f0))
        visibility = None if maps.visibility is None else maps.visibility[at]
        shaded = shade(maps.albedo[at], roughness, specular, normal, view, light, f0, visibility)
        radiance[at] = shaded.colour * maps.coverage[at][:, None]
    return radiance


def pixel_rays(camera: Cameras) -> Float[Tensor, "H W 3"]:
    """Points at depth 1 behind the pixels' centres of one camera, in its own axes."""
    fx, fy, cx, cy = camera.intrinsics[0]
    row = torch.arange(camera.height, device=fx.device) + 0.5
    column = torch.arange(camera.width, device=fx.device) + 0.5
    down, across = torch.meshgrid((row - cy) / fy, (column - cx) / fx, indexing="ij")
    return torch.stack([across, down, torch.ones_like(across)], -1)
