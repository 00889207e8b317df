"""What a drawn picture is made of, as pictures for people."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.picture import Picture
from flare_cli.render.light.samples import even_samples, sum_light
from flare_cli.render.raster.interface import Rasterizer

CHANNELS = ("picture", "albedo", "normal", "roughness", "specular", "light", "visibility")
RAYS = 128  # directions that openness is summed over
LINE = 0.5  # pixels from an edge to where its line is half as strong


def channel(picture: Picture, name: str) -> Float[Tensor, "B H W 3"]:
    """One of the `CHANNELS`, as linear radiance to be shown.

    Light is half the irradiance over pi. Visibility is the part of even light that arrives at a matte surface. Normals
    are in world axes, (n + 1) / 2 squared: what sRGB does to it then is undone but for a few levels.
    """
    match name:
        case "picture":
            return picture.colour
        case "albedo":
            values = picture.material.albedo
        case "normal":
            values = (0.5 + 0.5 * picture.surface.normal).square()
        case "roughness":
            values = picture.material.roughness
        case "specular":
            values = picture.material.specular
        case "light":
            values = 0.5 * picture.shaded.diffuse
        case _:
            assert name == "visibility"
            values = _openness(picture)
    return picture.buffer(values.expand(-1, 3))


def wireframe(picture: Picture, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B H W 3"]:
    """The edges of the triangles that are seen, one pixel wide, over the dimmed picture. `clip` is what was drawn."""
    height, width = picture.image.shape[1:3]
    index = picture.surface.pixels.index
    corners = faces[picture.surface.fragments.triangle.flatten()[index].long()]
    seen = clip[picture.surface.pixels.batch[:, None], corners]
    size = clip.new_tensor([width, height])
    at = (seen[..., :2] / seen[..., 3:] + 1) / 2 * size  # P, 3 corners, 2
    centre = torch.stack([index % width, torch.div(index, width, rounding_mode="floor") % height], 1) + 0.5
    along = at.roll(-1, 1) - at
    away = centre[:, None] - at
    area = along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0]
    distance = (area.abs() / along.norm(dim=-1).clamp(min=1e-9)).amin(1, keepdim=True)
    line = (LINE + 0.5 - distance).clamp(0, 1)
    return 0.3 * picture.colour + 0.7 * picture.buffer(line.expand(-1, 3))


def confidence(picture: Picture, avatar: Avatar, rasterizer: Rasterizer) -> Float[Tensor, "B H W 3"]:
    """How well the recording showed what is seen: green where often and squarely, red where never; grey: not known."""
    topology, surface = avatar.mesh.topology, picture.surface
    shade = 0.3 + 0.7 * (surface.normal * surface.view).sum(-1, keepdim=True).clamp(0, 1)
    if avatar.confidence is None:
        return picture.buffer(shade * shade.new_tensor([[0.2, 0.2, 0.2]]))
    at_vertices = topology.carried(avatar.confidence)[None]
    seen = rasterizer.interpolate(at_vertices, topology.faces, surface.fragments, surface.pixels)
    return picture.buffer(shade * seen.new_tensor([[0.5, 0.03, 0.03]]).lerp(seen.new_tensor([[0.03, 0.4, 0.05]]), seen))


def _openness(picture: Picture) -> Float[Tensor, "P 1"]:
    normal, visibility = picture.surface.normal, picture.surface.visibility
    one = torch.ones_like(normal[:, :1])
    if visibility is None:
        return one
    return sum_light(even_samples(RAYS).to(normal.device), normal, normal, one, one, visibility)[2]
