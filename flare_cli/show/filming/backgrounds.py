"""What stands behind the avatar: its environment, sharp or blurred, one colour, or what was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from flare_cli.data.celebamask import OCCLUDED
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import FlareError
from flare_cli.render.camera import Cameras
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.light.environment import EnvironmentLight, environment_background
from flare_cli.show.filming.lamps import linear_colour
from flare_cli.subject.folder import Subject

ENVMAP, BLUR, TRANSPARENT, ORIGINAL = KINDS = ("envmap", "blur", "transparent", "original")
BLUR_ROUGHNESS = 0.35  # of the mirror that blurs an environment: like a lens that is open wide; chosen by eye
PLATE_FRAMES = 32  # of a recording, that its empty background is put together from
PLATE_MARGIN = 0.02  # of a picture's height: a mask's edge is not trusted any nearer
SMALLEST = 64  # rows in which what nobody has seen is filled in: it is smooth, and mostly hidden


@final
@dataclass(frozen=True, slots=True)
class EnvironmentBehind:
    """The environment, blurred by `roughness`."""

    light: EnvironmentLight
    roughness: float = 0.0

    def behind(self, cameras: Cameras, frames: slice) -> Float[Tensor, "#B H W 3"]:
        """What the cameras see of it; looked up once where none of them moves."""
        first = cameras[:1]
        still = bool((cameras.camera_from_world == first.camera_from_world).all())
        still &= bool((cameras.intrinsics == first.intrinsics).all())
        return environment_background(self.light, first if still else cameras, self.roughness)


@final
@dataclass(frozen=True, slots=True)
class PictureBehind:
    """One picture (or colour) that stays as it is whatever the camera does; linear."""

    picture: Float[Tensor, "1 #H #W 3"]

    def behind(self, cameras: Cameras, frames: slice) -> Float[Tensor, "1 H W 3"]:
        """The picture."""
        return self.picture.expand(1, cameras.height, cameras.width, 3)


@final
@dataclass(frozen=True, slots=True)
class RecordingBehind:
    """The recording itself, a picture for each frame."""

    pictures: tuple[Path, ...]

    def behind(self, cameras: Cameras, frames: slice) -> Float[Tensor, "B H W 3"]:
        """What was recorded, as linear radiance; an 8-bit picture ends at 1."""
        size = (cameras.width, cameras.height)
        pictures = np.stack([scaled(read_rgb(path), size) for path in self.pictures[frames]])
        return linear_from_srgb(torch.from_numpy(pictures).to(cameras.intrinsics.device) / 255)


def parse_background(text: str) -> str | tuple[float, float, float]:
    """One of the `KINDS`, or a colour as linear numbers. Raises `FlareError`."""
    if text in KINDS:
        return text
    try:
        return linear_colour(text)
    except FlareError as error:
        raise FlareError(
            f"{text!r} is not a background",
            hint=f"use {', '.join(KINDS)}, black, grey, white or a colour as #rrggbb",
        ) from error


def empty_plate(subject: Subject, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """The recording without the head, as (width, height): each pixel's median over frames where the head was elsewhere.

    What the head always hides is filled in smoothly from around it.
    """
    numbers = subject.track.frames.tolist()
    chosen = [numbers[i] for i in np.unique(np.linspace(0, len(numbers) - 1, PLATE_FRAMES).round().astype(int))]
    pictures = np.stack([scaled(read_rgb(subject.image_path(number)), size) for number in chosen])
    reach = max(1, round(PLATE_MARGIN * size[1]))
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    masks = [cv2.resize(_not_background(subject, number), size) for number in chosen]
    empty = np.stack([cv2.dilate(mask, near) == 0 for mask in masks])
    seen = np.logical_or.reduce(empty)
    plate = np.zeros(pictures.shape[1:], np.uint8)
    for row in np.unique(np.nonzero(seen)[0]):  # as floating point numbers all of them would be gigabytes
        columns = seen[row]
        visible = np.where(empty[:, row, columns, None], pictures[:, row, columns], np.nan)
        plate[row, columns] = np.nanmedian(visible, 0).round()
    return _filled(plate, ~seen)


def _not_background(subject: Subject, number: int) -> UInt8[np.ndarray, "h w"]:
    """The frame's mask, with what is before the head."""
    return np.where(
        read_grey(subject.label_path(number)) == OCCLUDED, np.uint8(255), read_grey(subject.mask_path(number))
    )


def scaled(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture at another size (width, height)."""
    if picture.shape[1::-1] == size:
        return picture
    shrinks = size[1] < len(picture)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _filled(picture: UInt8[np.ndarray, "H W 3"], hole: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with a hole filled in from its rim (Telea 2004), coarsely."""
    height, width = hole.shape
    rows = min(SMALLEST, height)
    small = (max(1, round(width * rows / height)), rows)
    # A coarse pixel is a hole if any part of it is: what it would be mixed with is black.
    coarse_hole = (cv2.resize(hole.astype(np.float32), small, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    coarse = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    smooth = scaled(cv2.inpaint(coarse, coarse_hole, 3, cv2.INPAINT_TELEA), (width, height))
    return np.where(hole[..., None], smooth, picture)
