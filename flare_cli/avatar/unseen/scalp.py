"""Where hair grows on a head, and which way it is combed: of the head model's regions, so that any head has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.head.hanging_hair import HANGING_HAIR

# The hairline beside the ears as it is seen from the side, from the nape to above the temple: how far (metres) before
# the ear's back or front, and above its lobe or top. By eye, of short hair.
BEHIND = ((-0.032, -0.012), (-0.012, 0.0), (0.004, 0.029))
BEFORE = ((0.0, -0.03), (0.010, -0.02), (0.022, 0.034), (0.038, 0.048), (0.058, 0.057))
# Metres: an ear is so far below the hairline, wherever it is.
EAR = -0.02
# And hair that hangs is all hair: so far above it, wherever it is.
HANGING = 0.1
# Hair grows from where the back of the head turns into its top: the place of the scalp with most y - z / 2.
CROWN_TILT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalp:
    """Of each vertex how far (metres) above the hairline it lies, less than 0 on skin; and its place under the comb.

    That place is the direction around the crown (cosine, sine) and the distance from it over a skull of mean `radius`
    (metres).
    """

    growth: Float[Tensor, "V 1"]
    combed: Float[Tensor, "V 3"]
    radius: float


def find_scalp(avatar: Avatar) -> Scalp | None:
    """Where hair grows on this head; None on one without ears or scalp."""
    template, regions = avatar.head.template, avatar.head.regions
    ears, skull = (template[regions[name]] if name in regions else template[:0] for name in ("ears", "scalp"))
    if not len(ears) or not len(skull):
        return None
    places = avatar.mesh.topology.carried(template)
    (_, lobe, back), (_, top, front) = ears.amin(0).tolist(), ears.amax(0).tolist()
    line = [(back + z, lobe + y) for z, y in BEHIND] + [(front + z, top + y) for z, y in BEFORE]
    at, heights = zip(*line, strict=True)
    height = np.interp(places[:, 2].cpu().numpy(), at, heights)
    growth = (places[:, 1] - torch.from_numpy(height).to(places))[:, None]
    growth = torch.where(avatar.region_mask(("ears",)) > 0.5, growth.clamp(max=EAR), growth)
    growth = torch.where(avatar.region_mask((HANGING_HAIR,)) > 0.5, HANGING, growth)
    halfway = template.new_tensor([0, 1, 1])  # the plane between the ears
    middle = halfway * (skull.amin(0) + skull.amax(0)) / 2
    crown = halfway * skull[(skull[:, 1] - CROWN_TILT * skull[:, 2]).argmax()]
    up, aside = torch.nn.functional.normalize(crown - middle, dim=0), template.new_tensor([1, 0, 0])
    away, radius = places - middle, float((skull - middle).norm(dim=1).mean())
    around = torch.stack([away @ torch.linalg.cross(aside, up), away @ aside], 1)
    distance = radius * torch.atan2(around.norm(dim=1), away @ up)
    direction = torch.nn.functional.normalize(around, dim=1)
    return Scalp(growth=growth, combed=torch.cat([direction, distance[:, None]], 1), radius=radius)
