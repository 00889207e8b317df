"""Lamps as a photographer sets them - key, fill, rim - painted into an environment map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.errors import EnvmapError
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.light.samples import map_directions

ROWS = 128  # of a map of lamps alone: 1.4 degrees a texel, a tenth of the smallest lamp below
LEAST_WIDTH = 3.0  # degrees: two texels of such a map


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A round, even, distant lamp.

    `azimuth` is in degrees from the viewer's side toward the subject's left, `elevation` in degrees up, `width` the
    angle in degrees that its disc takes up: a larger one is softer. A white matte card that faces it has the radiance
    `strength` times `colour` (linear).
    """

    azimuth: float
    elevation: float
    width: float
    strength: float
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def direction(self) -> tuple[float, float, float]:
        """From the subject to the lamp, unit, in world axes."""
        azimuth, elevation = math.radians(self.azimuth), math.radians(self.elevation)
        across = math.cos(elevation)
        return across * math.sin(azimuth), math.sin(elevation), across * math.cos(azimuth)


# Classical portrait lighting: a warm key high on one side, a large weak cool fill on the other (key to fill about 1:3,
# as portrait handbooks advise), a rim from behind that draws the outline.
PRESETS = {
    "key": Lamp(azimuth=40, elevation=35, width=30, strength=1.5, colour=(1.0, 0.92, 0.82)),
    "fill": Lamp(azimuth=-50, elevation=10, width=70, strength=0.5, colour=(0.85, 0.92, 1.0)),
    "rim": Lamp(azimuth=-155, elevation=35, width=20, strength=2.0),
}
_BOUNDS = {
    "azimuth": (-360.0, 360.0),
    "elevation": (-90.0, 90.0),
    "width": (LEAST_WIDTH, 180.0),
    "strength": (0.0, 1e4),
}
HINT = (
    f"name one of {', '.join(PRESETS)}, alone or with any of {', '.join((*_BOUNDS, 'colour'))} changed: "
    "key:azimuth=-60,elevation=20,colour=#ffd0a0"
)


def parse_lamp(text: str) -> Lamp:
    """A preset by name, with changes after a colon. Raises `EnvmapError`."""
    name, _, changes = text.partition(":")
    if name not in PRESETS:
        raise EnvmapError(f"there is no lamp {name!r}", hint=HINT)
    lamp = PRESETS[name]
    for change in filter(None, changes.split(",")):
        key, _, value = change.partition("=")
        if key == "colour":
            lamp = replace(lamp, colour=linear_colour(value))
        elif key in _BOUNDS:
            lamp = replace(lamp, **{key: _number(change, value, *_BOUNDS[key])})
        else:
            raise EnvmapError(f"{text}: a lamp has no {key!r}", hint=HINT)
    return lamp


def linear_colour(text: str) -> tuple[float, float, float]:
    """An sRGB colour as #rrggbb, or black, grey, white, as linear numbers. Raises `EnvmapError`."""
    digits = {"black": "000000", "grey": "808080", "white": "ffffff"}.get(text, text.removeprefix("#"))
    try:
        values = bytes.fromhex(digits)
    except ValueError:
        values = b""
    if len(values) != 3:
        raise EnvmapError(f"{text!r} is not a colour", hint="give red, green and blue as #rrggbb, for example #ffd0a0")
    red, green, blue = linear_from_srgb(torch.tensor(list(values)) / 255).tolist()
    return red, green, blue


def paint_lamps(lamps: tuple[Lamp, ...], rows: int = ROWS) -> Float[Tensor, "H W 3"]:
    """Lamps in the dark, as an equirectangular map (docs/conventions.md) of linear radiance."""
    looking = map_directions(rows)
    theta = (torch.arange(rows) + 0.5) / rows * math.pi
    texel = (theta.sin() * (math.pi / rows) ** 2)[:, None]  # solid angle
    picture = torch.zeros_like(looking)
    for lamp in lamps:
        cosine = looking @ looking.new_tensor(lamp.direction())
        # The edge is a texel wide, so that the lamp can be turned without steps.
        inside = ((math.radians(lamp.width) / 2 - cosine.clamp(-1, 1).acos()) * rows / math.pi + 0.5).clamp(0, 1)
        facing = (inside * cosine.clamp(min=0) * texel).sum() / math.pi  # irradiance over pi of radiance 1
        picture += inside[..., None] * looking.new_tensor(lamp.colour) * (lamp.strength / facing)
    return picture


def _number(change: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise EnvmapError(f"{change}: not a number from {least:g} to {most:g}", hint=HINT)
    return value
