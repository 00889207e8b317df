"""What of an avatar its training frames showed: measured once, when the fit is done."""

from __future__ import annotations

from collections.abc import Generator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.confidence import vertex_confidence
from flare_cli.fit.frames import Frames, fitted_size
from flare_cli.render.camera import Cameras
from flare_cli.render.raster.interface import Rasterizer

# Frames that are looked at, spread over the recording; pixels of their height: the head's own triangles cover some.
FRAMES, SIZE, AT_ONCE = 64, 256, 8


def seen_confidence(avatar: Avatar, frames: Frames, rasterizer: Rasterizer) -> Float[Tensor, "V0 1"]:
    """The confidence of each of the head's own vertices, by `frames` and their masks."""
    chosen = torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long()
    some = frames[chosen]
    height, width = fitted_size(some.track, SIZE)
    track = some.track.resized(height, width).to(avatar.device)
    masks = torch.nn.functional.interpolate(some.pictures.mask[:, None], (height, width))[:, 0]

    def moments() -> Generator[tuple[Posed, Cameras, UInt8[Tensor, "B H W"]]]:
        corrections = avatar.corrections()
        for start in range(0, len(track), AT_ONCE):
            part = track[start : start + AT_ONCE]
            posed = avatar.posed(
                expression=part.expression, pose=part.pose, translation=part.translation, corrections=corrections
            )
            yield posed, part.cameras(), masks[start : start + AT_ONCE]

    with torch.no_grad():
        return vertex_confidence(avatar, moments(), rasterizer, stands_for=len(frames) / len(chosen))
