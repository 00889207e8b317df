"""The person's own colours at a soft outline, where a recorded pixel is a mixture of person and background.

After Forte's blur fusion (arXiv:2006.14970), but for the background, which is not asked: colours that are surely the
person's are carried outwards, first far and smoothly, then near and sharper. With the background's colour too, as
published, a matte that reaches a pixel too far (ours does) leaves half of a bright wall in the outline
(docs/experiments.md, "The outline without its fringe"). Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

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
    carried = _carried(cv2.merge(guide.half), sure, height)
    mixed = np.nonzero((matte > 0) & (sure < 255))
    person = rgb.copy()
    near = cv2.resize(carried, (width, height), interpolation=cv2.INTER_LINEAR)[mixed] * 255
    part = sure[mixed][:, None] * np.float32(1 / 255)
    person[mixed] = np.rint(near + part * (rgb[mixed] - near)).astype(np.uint8)
    return person


def _carried(
    picture: Float[np.ndarray, "h w 3"], sure: UInt8[np.ndarray, "H W"], height: int
) -> Float[np.ndarray, "h w 3"]:
    """The surely known colours around each pixel, at half the size."""
    size = picture.shape[1::-1]
    weight = cv2.resize(sure, size, interpolation=cv2.INTER_AREA)[..., None] * np.float32(1 / 255)
    small = (max(1, size[0] // COARSER), max(1, size[1] // COARSER))
    coarse = cv2.resize(_weighted(picture, weight, LEAST**2), small, interpolation=cv2.INTER_AREA)
    far = cv2.resize(_mean(coarse, height / HEIGHTS_PER_FAR / (2 * COARSER)), size)
    return _mean(_weighted(far + weight * (picture - far), weight, LEAST), height / HEIGHTS_PER_NEAR / 2)


def _weighted(
    colour: Float[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w 1"], least: float
) -> Float[np.ndarray, "h w 4"]:
    """Colours times their weight, and the weight."""
    weight = weight + np.float32(least)
    return np.concatenate([colour * weight, weight], 2)


def _mean(weighted: Float[np.ndarray, "h w 4"], window: float) -> Float[np.ndarray, "h w 3"]:
    """Weighted mean colour in a square window."""
    size = 2 * int(window / 2) + 1
    total = cv2.blur(weighted, (size, size), borderType=cv2.BORDER_REPLICATE)
    return total[..., :3] / total[..., 3:]
