"""Drawing a whole track with an avatar, a few frames at a time; and sheets of pictures for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.completion import Completion
from flare_cli.avatar.picture import Picture, draw
from flare_cli.fit.frames import Frames
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.parallel.blocks import threads_for_blocks
from flare_cli.render.camera import Cameras
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.channels import channel
from flare_cli.subject.track import Track

CPU_BATCH = 4  # pictures drawn at once
# Pixels drawn at once. A GPU needs many to be busy: 16 pictures of 512 x 512 take 1.6 GiB.
GPU_PIXELS = 16 * 512 * 512


@dataclass(frozen=True, slots=True)
class DrawnFrames:
    """A few consecutive frames: their indices in the track, and the picture of them."""

    start: int
    picture: Picture


@runtime_checkable
class Background(Protocol):
    """What is behind the avatar."""

    def behind(self, cameras: Cameras, frames: slice) -> Float[Tensor, "#B H W 3"]:
        """Linear radiance that the cameras of some frames see; one picture where all see the same."""
        ...


def draw_track(
    avatar: Avatar,
    track: Track,
    rasterizer: Rasterizer,
    *,
    light: Light | SummedLight | None = None,
    cameras: Cameras | None = None,
    background: Background | None = None,
    turned: Float[Tensor, " N"] | None = None,
    rays: int = 0,
    batch: int | None = None,
    completion: Completion | None = None,
    opacity: Float[Tensor, "V 1"] | None = None,
) -> Iterator[DrawnFrames]:
    """Draw every frame of `track` under `light` (the recording's own by default), before a background or black.

    `cameras` are one a frame, by default the recording's. Light and background are `turned` by so many radians about +y
    in each frame. With `rays` what shadows each vertex is traced anew in each frame, by so many; the avatar's own
    visibility is of a few poses. `batch` is how many frames are drawn at once, by default what suits the device.
    A `completion` fills what was never seen, and mouths are lit then; `opacity` is as `draw` takes it.
    """
    track = track.to(avatar.device)
    cameras = track.cameras() if cameras is None else cameras.to(avatar.device)
    if batch is None:
        pixels = cameras.height * cameras.width
        batch = max(1, GPU_PIXELS // pixels) if avatar.device.type == "cuda" else CPU_BATCH
    with torch.no_grad():
        corrections = avatar.corrections()
        motion = avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
        if turned is not None:  # turning the light is turning everything else the other way
            world = rotation_from_axis_angle(
                turned.to(avatar.device)[:, None] * cameras.intrinsics.new_tensor([0, -1, 0])
            )
            motion, cameras = motion.turned(world), cameras.turned(world)
        views = cameras.projections()
        for part in _parts(track, batch, apart=light is None):
            behind = None if background is None else background.behind(cameras[part], part)
            with threads_for_blocks():
                posed = avatar.move(motion[part], corrections)
                if rays:
                    posed = replace(posed, visibility=avatar.traced_visibility(posed, rays))
                picture = draw(
                    avatar,
                    posed,
                    views[part],
                    light=light or avatar.light.of_video(0 if track.video is None else int(track.video[part.start])),
                    rasterizer=rasterizer,
                    background=behind,
                    completion=completion,
                    opacity=opacity,
                    lit_mouth=completion is not None and not rays,
                )
            yield DrawnFrames(part.start, picture)


def _parts(track: Track, most: int, *, apart: bool) -> Iterator[slice]:
    """Consecutive frames, at most so many; with `apart` each part is of one video."""
    start = 0
    while start < len(track):
        stop = min(start + most, len(track))
        if apart and track.video is not None:
            others = torch.nonzero(track.video[start:stop] != track.video[start])
            stop = start + int(others[0]) if len(others) else stop
        yield slice(start, stop)
        start = stop


def srgb_bytes(linear: Float[Tensor, "*batch C"]) -> UInt8[Tensor, "*batch C"]:
    """Linear radiance as 8-bit sRGB, on the same device."""
    return (srgb_from_linear(linear).clamp(0, 1) * 255 + 0.5).byte()


def to_bytes(linear: Float[Tensor, "*batch C"]) -> UInt8[np.ndarray, "*batch C"]:
    """Linear radiance as 8-bit sRGB, on the host."""
    return srgb_bytes(linear).cpu().numpy()


def sheet(rows: list[list[UInt8[np.ndarray, "h w 3"]]], gap: int = 4) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size in rows and columns on white."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            canvas[r * (height + gap) : r * (height + gap) + height, c * (width + gap) : c * (width + gap) + width] = (
                picture
            )
    return canvas


def comparison_sheet(avatar: Avatar, frames: Frames, rasterizer: Rasterizer) -> UInt8[np.ndarray, "H W 3"]:
    """One row per frame: recorded, drawn, albedo, diffuse light, roughness, normals."""
    rows: list[list[UInt8[np.ndarray, "H W 3"]]] = []
    recorded = to_bytes(frames.pictures.radiance())
    for drawn in draw_track(avatar, frames.track, rasterizer):
        picture = drawn.picture
        columns = [to_bytes(channel(picture, name)) for name in ("picture", "albedo", "light", "roughness", "normal")]
        rows += [[recorded[drawn.start + i], *(c[i] for c in columns)] for i in range(len(picture.colour))]
    return sheet(rows)
