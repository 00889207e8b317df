"""Eyeballs of any head model: what turns with an eye's joint."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.head.joints import Joint


def eyeball(
    joint: Literal[Joint.EYE_LEFT, Joint.EYE_RIGHT],
    weights: Float[Tensor, "V J"],
    places: Float[Tensor, "V 3"],
    joints: Float[Tensor, "J 3"],
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Its vertices, and their directions from its centre where all of these are; at rest eyes look along +z."""
    vertices = torch.nonzero(weights[:, joint] > 0.5)[:, 0]
    return vertices, torch.nn.functional.normalize(places[vertices] - joints[joint], dim=-1)
