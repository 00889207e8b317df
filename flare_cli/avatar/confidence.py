"""What a recording showed of each vertex: how often and how squarely, and what of a person was there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.data.celebamask import Label
from flare_cli.render.camera import Cameras
from flare_cli.render.geometry import vertex_normals
from flare_cli.render.raster.interface import Rasterizer

# Cosine between normal and view below which nothing counts as seen: the outline, where a pixel off is another surface.
LEAST_FACING = 0.15
# So many frames that show a vertex squarely make half of full confidence.
HALF_CONFIDENCE = 3.0
# What may cover a head, in the order of the columns of `Shown.coverings`: what grows on it, and what is worn.
COVERINGS = ((Label.HAIR,), (Label.CLOTH, Label.HAT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """B frames of a recording: the posed avatar, its cameras, masks (0..255, outside which nothing is seen), labels."""

    posed: Posed
    cameras: Cameras
    masks: UInt8[Tensor, "B H W"]
    labels: UInt8[Tensor, "B H W"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Of each of the head model's own vertices what a recording showed.

    `confidence` is 0 (never seen) .. 1 (often and squarely), n / (n + `HALF_CONFIDENCE`): n counts the frames that see
    a vertex, each by the squared cosine it is seen under, less `LEAST_FACING`. `squarest` is the largest such cosine.
    `coverings` is which part of n, of what had a label of the person, had one of each of `COVERINGS`.
    """

    confidence: Float[Tensor, "V0 1"]
    squarest: Float[Tensor, "V0 1"]
    coverings: Float[Tensor, "V0 2"]


@torch.no_grad()
def what_was_shown(
    avatar: Avatar, moments: Iterable[Moment], rasterizer: Rasterizer, *, stands_for: float = 1.0
) -> Shown:
    """What `moments` show of the avatar, each frame of which stands for so many of the recording."""
    own, faces = len(avatar.head.template), avatar.head.faces
    seen, squarest = torch.zeros(2, own, device=avatar.device)
    labelled, covered = torch.zeros_like(seen), torch.zeros(own, len(COVERINGS), device=avatar.device)
    for moment in moments:
        cameras, vertices = moment.cameras, moment.posed.vertices[:, :own].contiguous()
        clip = cameras.clip(vertices)
        fragments = rasterizer.rasterize(clip, faces, cameras.height, cameras.width)
        normals = vertex_normals(vertices, faces)
        towards = torch.nn.functional.normalize(cameras.centres()[:, None] - vertices, dim=-1)
        facing = ((normals * towards).sum(-1) - LEAST_FACING).clamp(min=0) / (1 - LEAST_FACING)
        labels = moment.labels.to(avatar.device)
        for triangle, mask, label, squarely, at in zip(
            fragments.triangle, moment.masks, labels, facing, clip, strict=True
        ):
            shown = triangle[(triangle >= 0) & (mask.to(triangle.device) > 127)].long().unique()
            visible = torch.zeros_like(seen)
            visible[faces[shown].flatten()] = 1
            count = stands_for * visible * squarely.square()
            seen += count
            squarest = torch.maximum(squarest, visible * squarely)
            column, row = ((at[:, :2] / at[:, 3:] + 1) / 2 * at.new_tensor([cameras.width, cameras.height])).long().T
            there = label[row.clamp(0, cameras.height - 1), column.clamp(0, cameras.width - 1)]
            # At an outline the very pixel may be beside the person.
            labelled += count * (there != Label.BACKGROUND)
            for k, covering in enumerate(COVERINGS):
                covered[:, k] += count * torch.isin(there, there.new_tensor(covering))
    return Shown(
        confidence=(seen / (seen + HALF_CONFIDENCE))[:, None],
        squarest=squarest[:, None],
        coverings=covered / labelled.clamp(min=1e-9)[:, None],
    )
