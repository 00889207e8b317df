"""How a measured map is turned and exposed for a portrait: by the light that a white matte card gets from it."""

from __future__ import annotations

import math
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.render.light.environment import solid_angles
from flare_cli.render.light.samples import map_directions

# Linear radiance, in its brightest channel, of the brightest white card that faces the camera's side: skin, at most 0.6
# of it, stays below 1.
BRIGHTEST_CARD = 1.4
KEY_YAW = math.radians(20), math.radians(60)  # how far to the side the strongest light stands
ROWS = 64  # the map's power is summed in so many rows


def front_lit(envmap: Float[Tensor, "H W 3"], *, seed: int) -> Float[Tensor, "H W 3"]:
    """Turn a map, by whole columns, so that most light comes from the front, to a side that the seed picks."""
    yaws = torch.arange(0, 360, 5) * (math.pi / 180)
    strongest = float(yaws[card_radiance(envmap, _facing(yaws, torch.zeros_like(yaws))).mean(-1).argmax()])
    side, place = torch.rand(2, generator=torch.Generator().manual_seed(seed + 177)).tolist()
    wanted = math.copysign(KEY_YAW[0] + place * (KEY_YAW[1] - KEY_YAW[0]), side - 0.5)
    # A column further right is 2 pi / W further from -z towards +x: less of a yaw, which counts from +z.
    return envmap.roll(round((strongest - wanted) / (2 * math.pi) * envmap.shape[1]), dims=1)


def exposed(envmap: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """Scale a map so that the brightest card on the camera's side of a head reaches `BRIGHTEST_CARD`."""
    yaw, pitch = torch.tensor(list(product(range(-75, 76, 15), range(-30, 61, 30)))).T * (math.pi / 180)
    return envmap * (BRIGHTEST_CARD / max(float(card_radiance(envmap, _facing(yaw, pitch)).max()), 1e-8))


def card_radiance(envmap: Float[Tensor, "H W 3"], normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Linear radiance of white matte cards that face along `normals`, without shadows."""
    height, width = envmap.shape[:2]
    power = (envmap * torch.from_numpy(solid_angles(height)).float()[:, None, None]).permute(2, 0, 1)
    pooled = torch.nn.functional.adaptive_avg_pool2d(power, (ROWS, 2 * ROWS))
    pooled = pooled * (height * width / pooled[0].numel())  # means back to sums
    directions = map_directions(ROWS).flatten(0, 1)
    return (normals @ directions.T).clamp(min=0) @ pooled.flatten(1).T / math.pi


def _facing(yaw: Float[Tensor, "N"], pitch: Float[Tensor, "N"]) -> Float[Tensor, "N 3"]:
    """Directions: yaw from +z towards +x, pitch upwards."""
    return torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], -1)
