"""The track: what the head and the camera did in every frame of a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.camera import Cameras


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Per-frame head parameters under one static camera, for the frames that were tracked well.

    `frames` are the numbers of the picture files (`image/<number>.png`). Metres, radians; `translation` is added after
    posing; `camera` holds exactly one camera.
    """

    head: str
    frames: Int[Tensor, "N"]
    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "N E"]
    pose: Float[Tensor, "N J 3"]
    translation: Float[Tensor, "N 3"]
    camera: Cameras
    fps: float

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Track:
        """The track of some of its frames."""
        return replace(
            self,
            frames=self.frames[index],
            expression=self.expression[index],
            pose=self.pose[index],
            translation=self.translation[index],
        )

    def with_camera(self, camera: Cameras) -> Track:
        """The same motion seen by another camera."""
        return replace(self, camera=camera)

    def to(self, device: torch.device | str) -> Track:
        """Return the same track with tensors on `device`."""
        moved = {n: getattr(self, n).to(device) for n in ("frames", "shape", "expression", "pose", "translation")}
        return replace(self, camera=self.camera.to(device), **moved)
