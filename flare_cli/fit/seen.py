"""What of an avatar its training frames showed: measured once, when the fit is done."""

from __future__ import annotations

from collections.abc import Generator

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.confidence import Moment, Shown, what_was_shown
from flare_cli.fit.frames import Frames, fitted_size
from flare_cli.render.raster.interface import Rasterizer

# Frames that are looked at, spread over the recording; pixels of their height: the head's own triangles cover some.
FRAMES, SIZE, AT_ONCE = 64, 256, 8


def shown_by(frames: Frames, avatar: Avatar, rasterizer: Rasterizer) -> Shown:
    """What `frames` showed of each of the head's own vertices."""
    chosen = torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long()
    some = frames[chosen]
    height, width = fitted_size(some.track, SIZE)
    track = some.track.resized(height, width).to(avatar.device)
    masks, labels = (
        torch.nn.functional.interpolate(picture[:, None], (height, width))[:, 0]
        for picture in (some.pictures.mask, some.pictures.label)
    )

    def moments() -> Generator[Moment]:
        corrections = avatar.corrections()
        for start in range(0, len(track), AT_ONCE):
            at_once = slice(start, start + AT_ONCE)
            part = track[at_once]
            posed = avatar.posed(
                expression=part.expression, pose=part.pose, translation=part.translation, corrections=corrections
            )
            yield Moment(posed=posed, cameras=part.cameras(), masks=masks[at_once], labels=labels[at_once])

    with torch.no_grad():
        return what_was_shown(avatar, moments(), rasterizer, stands_for=len(frames) / len(chosen))
