"""The lights that a film is asked for: environment maps by name, and lamps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.data.hdr import load_envmap
from flare_cli.show.envmaps import automatic_exposure, named_envmaps
from flare_cli.show.filming.lamps import Lamp, paint_lamps

LAMPS = "lamps"  # what lamps alone are called


@dataclass(frozen=True, slots=True, kw_only=True)
class Lighting:
    """Maps, each of which lights a film of its own, and the lamps that are added to every one of them.

    `exposure` (stops) brightens all; None scales each map so that its mean over all directions is 1, and leaves lamps
    as they are. The whole is turned by `rotate_degrees` about the vertical, toward the subject's left, and with `turn`
    once around during the film. Without a map or a lamp the light is the recording's.
    """

    envmaps: tuple[Path, ...] = ()
    lamps: tuple[Lamp, ...] = ()
    exposure: float | None = None
    rotate_degrees: float = 0.0
    turn: bool = False


LIGHT_OF_THE_RECORDING = Lighting()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One light: linear radiance before it is turned by `yaw` radians about +y, and the stops it was brightened by.

    With `turns` it also turns once around during a film.
    """

    name: str
    picture: Float[Tensor, "H W 3"]
    exposure: float
    yaw: float
    turns: bool


def environments(lighting: Lighting) -> list[Environment]:
    """The lights, each with all lamps. Raises `EnvmapError` for a map that can't be read, or two of one name."""
    stops, made = (
        lighting.exposure,
        partial(Environment, yaw=math.radians(lighting.rotate_degrees), turns=lighting.turn),
    )
    lamp_gain = 2.0 ** (stops or 0.0)
    found: list[Environment] = []
    for name, path in named_envmaps(lighting.envmaps).items():
        envmap = torch.from_numpy(load_envmap(path))
        exposure = automatic_exposure(envmap) if stops is None else stops
        lamps = paint_lamps(lighting.lamps, len(envmap))
        found.append(made(name=name, picture=envmap * 2.0**exposure + lamps * lamp_gain, exposure=exposure))
    if lighting.lamps and not found:
        found.append(made(name=LAMPS, picture=paint_lamps(lighting.lamps) * lamp_gain, exposure=stops or 0.0))
    return found
