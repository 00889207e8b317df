"""Whether the camera moves: by what is behind the person, followed from moment to moment.

A head that moves and a camera that moves look alike in the face; only the background tells them apart. Worker processes
use this module: it imports no torch.
"""

from __future__ import annotations

from typing import cast, final

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# Pictures are looked at so many pixels wide and so many times a second: a slow pan is within what is followed.
WIDTH, RATE = 320, 6.0
# What is taken for the person: so many heights of the landmarks' box to both sides of its middle and above it, and
# everything below. Arms that reach farther move in their own ways, and are outvoted.
BESIDE, ABOVE = 1.3, 0.6
# Corners that are followed: at most so many, so far apart (pixels), each with gradients (of brightness in 0..1) whose
# smaller eigenvalue is at least this: a plain wall's noise has less.
CORNERS, APART, LEAST_EIGENVALUE = 150, 6, 2e-4
# A corner counts if, followed back, it ends within this distance of where it began, in pixels; a motion, if at least so
# many corners and such a part of them agree with it.
RETURNS, AGREES, LEAST_CORNERS, LEAST_PART = 0.3, 0.5, 12, 0.6


@final
class CameraMotion:
    """Follows the background of one frame after another."""

    def __init__(self) -> None:
        self._last: UInt8[np.ndarray, "h w"] | None = None
        self._corners: Float[np.ndarray, "K 1 2"] | None = None
        self._time = -np.inf
        self._path = np.zeros(3)

    def forget(self) -> None:
        """A new shot begins."""
        self._last, self._time, self._path = None, -np.inf, np.zeros(3)

    def __call__(
        self, rgb: UInt8[np.ndarray, "H W 3"], points: Float[np.ndarray, "K 3"], time: float
    ) -> Float[np.ndarray, "3"]:
        """How far the background is from where it was when the shot began: to the right and down in picture widths, and
        the logarithm of its size. NaN where it can't be told: between the moments that are looked at, without texture.

        `points` are the face's landmarks in pixels, `time` is in seconds.
        """
        unknown = np.full(3, np.nan)
        if time < self._time + 0.99 / RATE:
            return unknown
        scale = WIDTH / rgb.shape[1]
        small = cv2.resize(rgb, (WIDTH, round(rgb.shape[0] * scale)), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        behind = _behind(points[:, :2] * scale, grey.shape)
        last, corners = self._last, self._corners
        self._last, self._corners, self._time = grey, _corners(grey, behind), time
        if last is None:
            return np.zeros(3) if self._corners is not None else unknown
        step = None if corners is None else _step(last, grey, corners, behind)
        if step is None:
            return unknown
        self._path = self._path + step
        return self._path


def _behind(points: Float[np.ndarray, "K 2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Pixels that surely don't show the person whose face is at `points`."""
    top, bottom = points[:, 1].min(), points[:, 1].max()
    middle, height = points[:, 0].mean(), bottom - top
    x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0])[:, None] + 0.5
    return (abs(x - middle) > BESIDE * height) & (y < bottom) | (y < top - ABOVE * height)


def _corners(grey: UInt8[np.ndarray, "h w"], behind: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "K 1 2"] | None:
    """What can be followed behind the person; None where there is too little."""
    strength = cv2.cornerMinEigenVal(grey.astype(np.float32) / 255, 5)
    best = float(strength[behind].max(initial=0))
    if best < LEAST_EIGENVALUE:
        return None
    quality = max(0.02, LEAST_EIGENVALUE / best)
    # OpenCV's stubs don't know that it finds nothing at times.
    corners = cast(
        "np.ndarray | None",
        cv2.goodFeaturesToTrack(grey, CORNERS, quality, APART, mask=behind.view(np.uint8), blockSize=5),
    )
    return corners if corners is not None and len(corners) >= LEAST_CORNERS else None


def _step(
    last: UInt8[np.ndarray, "h w"],
    now: UInt8[np.ndarray, "h w"],
    corners: Float[np.ndarray, "K 1 2"],
    behind: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "3"] | None:
    """The background's motion between two pictures, as of a path; None if too few corners agree on one."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(last, now, corners, np.empty_like(corners))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(now, last, moved, np.empty_like(corners))
    inside = np.clip(np.rint(moved[:, 0]).astype(int), 0, np.array(now.shape[::-1]) - 1)
    good = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (np.abs(back - corners).max((1, 2)) < RETURNS)
    good &= behind[inside[:, 1], inside[:, 0]]
    if good.sum() < LEAST_CORNERS:
        return None
    fitted, agree = cv2.estimateAffinePartial2D(corners[good], moved[good], ransacReprojThreshold=AGREES)
    matrix = cast("np.ndarray | None", fitted)
    if matrix is None or agree.mean() < LEAST_PART or agree.sum() < LEAST_CORNERS:
        return None
    middle = np.array(now.shape[::-1]) / 2
    shift = (matrix[:, :2] @ middle + matrix[:, 2] - middle) / now.shape[1]
    return np.array([*shift, np.log(np.hypot(matrix[0, 0], matrix[1, 0]))])
