"""A square part of a video's pictures, at another size: what a subject's pictures are of the film that it came from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from flare_cli.config.tables import bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A square of `side` source pixels whose top left corner is at (`x`, `y`); it may reach outside the picture."""

    x: int = bounded("pixels", low=-(2**15), high=2**15)
    y: int = bounded("pixels", low=-(2**15), high=2**15)
    side: int = bounded("pixels", low=1, high=2**15)
    size: int = bounded("pixels", low=1, high=2**14)

    def cut(self, picture: Shaped[np.ndarray, "H W *C"]) -> Shaped[np.ndarray, "side side *C"]:
        """The square in source pixels; 0 where it reaches outside the picture. It may be a view."""
        height, width = picture.shape[:2]
        x0, y0 = max(self.x, 0), max(self.y, 0)
        x1, y1 = min(self.x + self.side, width), min(self.y + self.side, height)
        if x1 - x0 == y1 - y0 == self.side:
            return picture[y0:y1, x0:x1]
        whole = np.zeros((self.side, self.side, *picture.shape[2:]), picture.dtype)
        whole[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x] = picture[y0:y1, x0:x1]
        return whole

    def cropped(self, rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """The square at `size` x `size` pixels; black where it reaches outside the picture."""
        interpolation = cv2.INTER_AREA if self.side > self.size else cv2.INTER_CUBIC
        return cv2.resize(self.cut(rgb), (self.size, self.size), interpolation=interpolation)

    def inside(self, height: int, width: int) -> Bool[np.ndarray, "size size"]:
        """Which pixels of the crop show the picture of `height` x `width`, and not the black around it."""
        centres = (np.arange(self.size) + 0.5) * self.side / self.size
        rows = (centres + self.y > 0) & (centres + self.y < height)
        columns = (centres + self.x > 0) & (centres + self.x < width)
        return rows[:, None] & columns

    def from_source(self, points: Float[np.ndarray, "*N 2"]) -> Float[np.ndarray, "*N 2"]:
        """Source pixels to pixels of the crop."""
        return (points - np.array([self.x, self.y])) * (self.size / self.side)
