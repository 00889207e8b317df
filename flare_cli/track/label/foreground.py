"""The person's own colours at a soft outline, where a recorded pixel is a mixture of person and background.

After Forte's blur fusion (arXiv:2006.14970), but for the background, which is not asked: colours that are surely the
person's are carried outwards, first far and smoothly, then near and sharper. With the background's colour too, as
published, a matte that reaches a pixel too far (ours does) leaves half of a bright wall in the outline
(docs/experiments.md, "The outline without its fringe"). Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.track.label.matte import Guide

# Divisors of the picture's height. A pixel counts as surely the person's where everything within the first is; colours
# are carried over windows of the other two. Chosen on real recordings and on a person before known walls.
HEIGHTS_PER_MARGIN, HEIGHTS_PER_FAR, HEIGHTS_PER_NEAR = 170, 3, 43
# The far colours are smooth: they are found in a picture so many times smaller than the guide's half.
COARSER = 4
LEAST = 1e-3  # a weight that counts only where there is no other


def foreground_colours(
    rgb: UInt8[np.ndarray, "H W 3"], guide: Guide, matte: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with the person's colours (sRGB) wherever the matte (0..1) is above 0; elsewhere as recorded.

    Times the matte it is the person over black, without a fringe. `guide` is the same picture's.
    """
    height, width = matte.shape
    margin = max(1, round(height / HEIGHTS_PER_MARGIN))
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * margin + 1, 2 * margin + 1))
    sure = cv2.erode(np.rint(matte * 255).astype(np.uint8), kernel)
    mixed = np.nonzero((matte > 0) & (sure < 255))
    part = sure[mixed] * np.float32(1 / 255)
    person = rgb.copy()
    for channel, carried in enumerate(_carried(guide.half, sure, height)):
        recorded = rgb[..., channel][mixed]
        near = cv2.resize(carried, (width, height), interpolation=cv2.INTER_LINEAR)[mixed] * 255
        person[..., channel][mixed] = np.rint(near + part * (recorded - near)).astype(np.uint8)
    return person


def _carried(
    picture: Sequence[Float[np.ndarray, "h w"]], sure: UInt8[np.ndarray, "H W"], height: int
) -> list[Float[np.ndarray, "h w"]]:
    """The surely known colours around each pixel, at half the size: red, green and blue."""
    size = picture[0].shape[::-1]
    weight = cv2.resize(sure, size, interpolation=cv2.INTER_AREA) * np.float32(1 / 255)
    small = (max(1, size[0] // COARSER), max(1, size[1] // COARSER))
    coarse = [cv2.resize(plane, small, interpolation=cv2.INTER_AREA) for plane in _weighted(picture, weight, LEAST**2)]
    far = [cv2.resize(plane, size) for plane in _mean(coarse, height / HEIGHTS_PER_FAR / (2 * COARSER))]
    known = [smooth + weight * (sharp - smooth) for smooth, sharp in zip(far, picture, strict=True)]
    return _mean(_weighted(known, weight, LEAST), height / HEIGHTS_PER_NEAR / 2)


def _weighted(
    colour: Sequence[Float[np.ndarray, "h w"]], weight: Float[np.ndarray, "h w"], least: float
) -> list[Float[np.ndarray, "h w"]]:
    """Colours times their weight, and the weight."""
    weight = weight + np.float32(least)
    return [*(plane * weight for plane in colour), weight]


def _mean(weighted: Sequence[Float[np.ndarray, "h w"]], window: float) -> list[Float[np.ndarray, "h w"]]:
    """Weighted mean colour in a square window."""
    size = 2 * int(window / 2) + 1
    *total, weights = (cv2.blur(plane, (size, size), borderType=cv2.BORDER_REPLICATE) for plane in weighted)
    return [plane / weights for plane in total]
