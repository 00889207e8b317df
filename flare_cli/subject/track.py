"""The track: what the head and the camera did in every frame of a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.errors import SubjectError
from flare_cli.head.model import HeadModel
from flare_cli.render.camera import Cameras


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Per-frame head parameters under static cameras, for the frames that were tracked well.

    `frames` are the numbers of the picture files (`image/<number>.png`). Metres, radians; `translation` is added after
    posing. `camera` holds one camera per video (all make pictures of one size) and `video` says which of them filmed
    each frame; None, the usual case, is one video.
    """

    head: str
    frames: Int[Tensor, "N"]
    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "N E"]
    pose: Float[Tensor, "N J 3"]
    translation: Float[Tensor, "N 3"]
    camera: Cameras
    fps: float
    video: Int[Tensor, "N"] | None = None

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
            video=None if self.video is None else self.video[index],
        )

    def of_head(self, head: HeadModel) -> Track:
        """The track, if its numbers are this head's. Raises `SubjectError` if they are of another."""
        if self.head != head.name:
            raise SubjectError(
                f"the track is of the head {self.head}, not of {head.name}",
                hint=f"track the recording with `flare preprocess --head {head.name}`",
            )
        for name, count in (("shape", head.n_shape), ("expression", head.n_expression)):
            if getattr(self, name).shape[-1] != count:
                raise SubjectError(
                    f"the track has {getattr(self, name).shape[-1]} numbers of {name}, {head.name} has {count}",
                    hint="run `flare preprocess` again with --overwrite",
                )
        return self

    def cameras(self) -> Cameras:
        """The camera of every frame."""
        return self.camera.expand(len(self)) if self.video is None else self.camera[self.video]

    def with_camera(self, camera: Cameras) -> Track:
        """The same motion seen by another camera."""
        return replace(self, camera=camera, video=None)

    def resized(self, height: int, width: int) -> Track:
        """The same track for pictures of another size."""
        return replace(self, camera=self.camera.resized(height, width))

    def to(self, device: torch.device | str) -> Track:
        """Return the same track with tensors on `device`."""
        moved = {n: getattr(self, n).to(device) for n in ("frames", "shape", "expression", "pose", "translation")}
        video = None if self.video is None else self.video.to(device)
        return replace(self, camera=self.camera.to(device), video=video, **moved)
