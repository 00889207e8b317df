"""How well a recording showed each vertex: how often, and how squarely."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.render.camera import Cameras
from flare_cli.render.geometry import vertex_normals
from flare_cli.render.raster.interface import Rasterizer

# Cosine between normal and view below which nothing counts as seen: the outline, where a pixel off is another surface.
LEAST_FACING = 0.15
# So many frames that show a vertex squarely make half of full confidence.
HALF_CONFIDENCE = 3.0


@torch.no_grad()
def vertex_confidence(
    avatar: Avatar,
    moments: Iterable[tuple[Posed, Cameras, UInt8[Tensor, "B H W"]]],
    rasterizer: Rasterizer,
    *,
    stands_for: float = 1.0,
) -> Float[Tensor, "V0 1"]:
    """0 (never seen) .. 1 (often and squarely) of the head model's own vertices, n / (n + `HALF_CONFIDENCE`).

    n counts the frames that see a vertex, each by the squared cosine it is seen under (from `LEAST_FACING` on). A frame
    is a posed avatar, its camera, and the mask (0..255) outside which nothing is seen of it; each of `moments` stands
    for so many frames of the recording.
    """
    own, faces = len(avatar.head.template), avatar.head.faces
    seen = torch.zeros(own, device=avatar.device)
    for posed, cameras, masks in moments:
        vertices = posed.vertices[:, :own].contiguous()
        fragments = rasterizer.rasterize(cameras.clip(vertices), faces, cameras.height, cameras.width)
        normals = vertex_normals(vertices, faces)
        towards = torch.nn.functional.normalize(cameras.centres()[:, None] - vertices, dim=-1)
        facing = ((normals * towards).sum(-1) - LEAST_FACING).clamp(min=0) / (1 - LEAST_FACING)
        for triangle, mask, squarely in zip(fragments.triangle, masks, facing, strict=True):
            shown = triangle[(triangle >= 0) & (mask.to(triangle.device) > 127)].long().unique()
            visible = torch.zeros_like(seen)
            visible[faces[shown].flatten()] = 1
            seen += stands_for * visible * squarely.square()
    return (seen / (seen + HALF_CONFIDENCE))[:, None]
