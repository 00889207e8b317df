"""A light asked for in other axes than its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from flare_cli.render.light.samples import LightSamples, SummedLight
from flare_cli.render.light.shading import Light


@final
@dataclass(frozen=True, slots=True)
class TurnedLight:
    """`light`, for directions in axes from which `turn` leads to its own: with world_from_camera, in camera axes."""

    light: Light
    turn: Float[Tensor, "3 3"]

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Irradiance over pi at a unit normal."""
        return self.light.diffuse(normal @ self.turn.T)

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance averaged over the GGX lobe about a unit mirror direction."""
        return self.light.specular(direction @ self.turn.T, roughness)


def turned_light(light: Light | SummedLight, turn: Float[Tensor, "3 3"]) -> TurnedLight | LightSamples:
    """The same light in other axes, from which `turn` leads to its own; one that is summed stays one."""
    return light.samples().turned(turn.T) if isinstance(light, SummedLight) else TurnedLight(light, turn)
