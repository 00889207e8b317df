"""The person matte: MediaPipe's selfie segmentation on the head crop, steadied in time and snapped to picture edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.track.face.litert_network import Network

INPUT = 256  # pixels

# Chosen by eye on the development recordings, with no experiment logged, as are all numbers of `refined`.
# Radius within which the picture's edges decide, as a divisor of the height: three of the network's own pixels.
HEIGHTS_PER_RADIUS = 85
# He et al.'s epsilon, a variance of colours in 0..1: below it (a deviation of 0.014) the guide counts as even.
REFINING_EPSILON = 2e-4
# What the filter leaves below the first is background, above the second person: its soft edges become steeper.
BACKGROUND, PERSON = 0.1, 0.9
# A coarse matte above this everywhere within the radius is surely person.
SURE_PERSON = 0.9
# The matte fades to 0 where the coarse one is nowhere within the radius above a quarter.
REACH_SLOPE = 4


@final
class PersonMatte:
    """The network's own coarse matte of one head crop. Runs on one thread: there can be one on each core."""

    def __init__(self) -> None:
        self._network = Network("selfie_segmentation", threads=1)

    def __call__(self, rgb: UInt8[np.ndarray, "size size 3"]) -> UInt8[np.ndarray, "256 256"]:
        """How much each pixel belongs to a person, 0..255."""
        picture = cv2.resize(rgb, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
        (matte,) = self._network(picture.astype(np.float32) / 255)
        return np.rint(np.clip(matte[..., 0], 0, 1) * 255).astype(np.uint8)


def steadied(
    before: UInt8[np.ndarray, "h w"], now: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """A matte without the flicker of single frames, 0..1: the middle value in time, softened a little."""
    middle = np.maximum(np.minimum(before, now), np.minimum(np.maximum(before, now), after))
    together = np.add(before, now, dtype=np.uint16) + after
    return middle * np.float32(0.5 / 255) + together * np.float32(0.5 / 255 / 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A picture whose edges guide a filter: red, green and blue in 0..1, at the whole and at half the size."""

    whole: Sequence[Float[np.ndarray, "H W"]]
    half: Sequence[Float[np.ndarray, "h w"]]


def guide_of(rgb: UInt8[np.ndarray, "H W 3"]) -> Guide:
    """What the filter needs of a picture."""
    whole = [np.multiply(channel, np.float32(1 / 255), dtype=np.float32) for channel in cv2.split(rgb)]
    return Guide(whole=whole, half=[_half(channel) for channel in whole])


def refined(matte: Float[np.ndarray, "h w"], guide: Guide) -> Float[np.ndarray, "H W"]:
    """A coarse matte (0..1) at the picture's size, its edge moved to the picture's own edges by a guided filter."""
    height, width = guide.whole[0].shape
    coarse = cv2.resize(matte, (width, height), interpolation=cv2.INTER_LINEAR)
    radius = max(2, round(height / HEIGHTS_PER_RADIUS))
    (fine,) = guided_filter(guide, [coarse], radius=radius, epsilon=REFINING_EPSILON)
    # The network is unsure in a band as wide as its own pixels; what it is sure of stays.
    fine -= BACKGROUND
    fine /= PERSON - BACKGROUND
    np.clip(fine, 0, 1, out=fine)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # In 16 bits these two take half as long as in floating point.
    steps = np.rint(coarse * 65535).astype(np.uint16)
    core, reach = (
        np.multiply(extreme(steps, kernel), np.float32(1 / 65535), dtype=np.float32)
        for extreme in (cv2.erode, cv2.dilate)
    )
    core *= core > SURE_PERSON
    reach *= REACH_SLOPE
    return np.maximum(fine, core, out=fine) * np.minimum(reach, 1, out=reach)


def guided_filter(
    guide: Guide, values: Sequence[Float[np.ndarray, "H W"]], *, radius: int, epsilon: float
) -> list[Float[np.ndarray, "H W"]]:
    """He and Sun's fast guided filter (arXiv:1505.00996), colour guide: locally a value is a linear function of it.

    The functions are found at half the size, which is four times faster, and used at the full size.
    """
    height, width = guide.whole[0].shape
    window = (2 * max(1, radius // 2) + 1,) * 2

    def mean(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        return cv2.blur(values, window)

    def smooth_at_full_size(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "H W"]:
        return cv2.resize(mean(values), (width, height), interpolation=cv2.INTER_LINEAR)

    r, g, b = guide.half
    mr, mg, mb = mean(r), mean(g), mean(b)
    rr, gg, bb = mean(r * r) - mr * mr + epsilon, mean(g * g) - mg * mg + epsilon, mean(b * b) - mb * mb + epsilon
    rg, rb, gb = mean(r * g) - mr * mg, mean(r * b) - mr * mb, mean(g * b) - mg * mb
    # The inverse of the symmetric 3 x 3 covariance, by cofactors.
    i_rr, i_rg, i_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    i_gg, i_gb, i_bb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = rr * i_rr + rg * i_rg + rb * i_rb
    planes: list[np.ndarray] = []
    for at_full_size in values:
        value = _half(at_full_size)
        middle = mean(value)
        cr, cg, cb = mean(r * value) - mr * middle, mean(g * value) - mg * middle, mean(b * value) - mb * middle
        slopes = (
            (i_rr * cr + i_rg * cg + i_rb * cb) / determinant,
            (i_rg * cr + i_gg * cg + i_gb * cb) / determinant,
            (i_rb * cr + i_gb * cg + i_bb * cb) / determinant,
        )
        plane = smooth_at_full_size(middle - slopes[0] * mr - slopes[1] * mg - slopes[2] * mb)
        for slope, channel in zip(slopes, guide.whole, strict=True):
            cv2.accumulateProduct(smooth_at_full_size(slope), channel, plane)
        planes.append(plane)
    return planes


def _half(picture: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    height, width = picture.shape
    return cv2.resize(picture, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
