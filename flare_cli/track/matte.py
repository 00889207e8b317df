"""The person matte: MediaPipe's selfie segmentation on the head crop, steadied in time and snapped to picture edges."""

from __future__ import annotations

from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.track.network import Network

INPUT = 256


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
    stack = np.stack([before, now, after]).astype(np.float32) / 255
    return 0.5 * np.median(stack, 0) + stack.mean(0) * 0.5


def refined(matte: Float[np.ndarray, "h w"], rgb: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """A coarse matte at the picture's size, its edge moved to the picture's own edges by a guided filter."""
    height, width = rgb.shape[:2]
    coarse = cv2.resize(matte.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    guide = rgb.astype(np.float32) / 255
    radius = max(2, round(height / 85))
    fine = guided_filter(guide, coarse[..., None], radius=radius, epsilon=2e-4)[..., 0]
    # The network is unsure in a band as wide as its own pixels; what it is sure of stays.
    fine = np.clip((fine - 0.1) / 0.8, 0, 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    core, reach = cv2.erode(coarse, kernel), cv2.dilate(coarse, kernel)
    return np.clip(np.maximum(fine, (core > 0.9) * core) * np.clip(reach * 4, 0, 1), 0, 1)


def guided_filter(
    guide: Float[np.ndarray, "H W 3"], values: Float[np.ndarray, "H W C"], *, radius: int, epsilon: float
) -> Float[np.ndarray, "H W C"]:
    """He and Sun's fast guided filter with a colour guide: locally, a value becomes a linear function of the guide.

    The functions are found at half the size, which is four times faster, and used at the full size.
    """
    height, width = guide.shape[:2]
    half = lambda x: cv2.resize(x, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)  # noqa: E731
    window = (2 * max(1, radius // 2) + 1,) * 2
    mean = lambda x: cv2.blur(x, window)  # noqa: E731
    whole = lambda x: cv2.resize(mean(x), (width, height), interpolation=cv2.INTER_LINEAR)  # noqa: E731
    red, green, blue = cv2.split(guide)
    r, g, b = half(red), half(green), half(blue)
    mr, mg, mb = mean(r), mean(g), mean(b)
    rr, gg, bb = mean(r * r) - mr * mr + epsilon, mean(g * g) - mg * mg + epsilon, mean(b * b) - mb * mb + epsilon
    rg, rb, gb = mean(r * g) - mr * mg, mean(r * b) - mr * mb, mean(g * b) - mg * mb
    # The inverse of the symmetric 3 x 3 covariance, by cofactors.
    i_rr, i_rg, i_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    i_gg, i_gb, i_bb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = rr * i_rr + rg * i_rg + rb * i_rb
    planes: list[np.ndarray] = []
    for k in range(values.shape[-1]):
        value = half(np.ascontiguousarray(values[..., k]))
        middle = mean(value)
        cr, cg, cb = mean(r * value) - mr * middle, mean(g * value) - mg * middle, mean(b * value) - mb * middle
        slope_r = (i_rr * cr + i_rg * cg + i_rb * cb) / determinant
        slope_g = (i_rg * cr + i_gg * cg + i_gb * cb) / determinant
        slope_b = (i_rb * cr + i_gb * cg + i_bb * cb) / determinant
        offset = middle - slope_r * mr - slope_g * mg - slope_b * mb
        # In place: at full size, making room takes longer than counting.
        plane = whole(slope_r)
        plane *= red
        for slope, channel in ((slope_g, green), (slope_b, blue)):
            part = whole(slope)
            part *= channel
            plane += part
        plane += whole(offset)
        planes.append(plane)
    return np.stack(planes, -1) if len(planes) > 1 else planes[0][..., None]
