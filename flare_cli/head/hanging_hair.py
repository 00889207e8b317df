"""A head with one more part: hair that hangs beside the neck, which no head model has vertices for."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.model import HangingHair, HeadModel

HANGING_HAIR = "hanging_hair"
# Of the height of the atlas what such hair takes, at its lower end, and what stays empty above it. Not tuned.
STRIP, GUTTER = 0.2, 0.01


def with_hanging_hair(head: HeadModel, hair: HangingHair | None) -> HeadModel:
    """The head with `hair` after its own vertices and faces, which keep their numbers; without any, as it is.

    Such hair is a region of its own, and neither shape nor expressions move it. The head's charts make room for its.
    """
    if hair is None:
        return head
    own, more = len(head.template), len(hair.places)

    def unmoved(directions: Float[Tensor, "V 3 K"]) -> Float[Tensor, "W 3 K"]:
        return torch.cat([directions, directions.new_zeros(more, *directions.shape[1:])])

    regions = {name: torch.cat([inside, inside.new_zeros(more)]) for name, inside in head.regions.items()}
    regions[HANGING_HAIR] = torch.arange(own + more, device=head.template.device) >= own
    above = head.uv * head.uv.new_tensor([1, 1 - STRIP]) + head.uv.new_tensor([0, STRIP])
    return replace(
        head,
        template=torch.cat([head.template, hair.places]),
        faces=torch.cat([head.faces, own + hair.faces]),
        uv=torch.cat([above, hair.uv * hair.uv.new_tensor([1, STRIP - GUTTER])]),
        uv_faces=torch.cat([head.uv_faces, len(head.uv) + hair.faces]),
        shape_dirs=unmoved(head.shape_dirs),
        expression_dirs=unmoved(head.expression_dirs),
        pose_dirs=unmoved(head.pose_dirs),
        weights=torch.cat([head.weights, hair.weights]),
        regions=regions,
        hanging_hair=hair,
    )
