"""The truth's maps of light, as lights for somebody's shading model and in somebody's world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from flare_cli.render.camera import Cameras
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light
from flare_cli.render.light.turned import turned_light
from flare_cli.subject.truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueLights:
    """The recording's light, and the others by name."""

    recording: Light | SummedLight
    relit: Mapping[str, Light | SummedLight]

    @classmethod
    def of(cls, truth: Truth, light_of: Callable[[Float[Tensor, "H W 3"]], Light | SummedLight]) -> TrueLights:
        """In the world of the truth; `light_of` makes a light of a map, of the kind that somebody shades with."""
        return cls(
            recording=light_of(truth.envmap),
            relit={name: light_of(relit.envmap) for name, relit in truth.relit.items()},
        )

    def in_world_of(self, own: Cameras, true: Cameras) -> TrueLights:
        """In a world whose camera `own` films what `true`, the truth's, does: the cameras' axes are the same."""
        true_from_own = true.camera_from_world[0, :, :3].T @ own.camera_from_world[0, :, :3]
        return TrueLights(
            recording=turned_light(self.recording, true_from_own),
            relit={name: turned_light(light, true_from_own) for name, light in self.relit.items()},
        )
