"""The one square to which every frame of a video is cropped, so that the camera stays still while the head moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# Room in face heights (forehead point 10 to chin point 152): hair above the face, ears and hair beside its middle, neck
# and collar below it. Chosen by eye on the development recordings.
ABOVE, BESIDE, BELOW = 0.52, 0.75, 0.52
FOREHEAD, CHIN = 10, 152


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A square of `side` source pixels whose top left corner is at (`x`, `y`); it may reach outside the picture."""

    x: int
    y: int
    side: int
    size: int

    def cropped(self, rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """The square at `size` x `size` pixels; black where it reaches outside the picture."""
        height, width = rgb.shape[:2]
        x0, y0 = max(self.x, 0), max(self.y, 0)
        x1, y1 = min(self.x + self.side, width), min(self.y + self.side, height)
        whole = np.zeros((self.side, self.side, 3), np.uint8)
        whole[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x] = rgb[y0:y1, x0:x1]
        interpolation = cv2.INTER_AREA if self.side > self.size else cv2.INTER_CUBIC
        return cv2.resize(whole, (self.size, self.size), interpolation=interpolation)

    def inside(self, height: int, width: int) -> Bool[np.ndarray, "size size"]:
        """Which pixels of the crop show the picture of `height` x `width`, and not the black around it."""
        centres = (np.arange(self.size) + 0.5) * self.side / self.size
        rows = (centres + self.y > 0) & (centres + self.y < height)
        columns = (centres + self.x > 0) & (centres + self.x < width)
        return rows[:, None] & columns

    def from_source(self, points: Float[np.ndarray, "*N 2"]) -> Float[np.ndarray, "*N 2"]:
        """Source pixels to pixels of the crop."""
        return (points - np.array([self.x, self.y])) * (self.size / self.side)


def head_crop(points: Float[np.ndarray, "N 478 3"], height: int, width: int, size: int) -> Crop:
    """The square that holds head, hair and neck in all frames whose face points are given (source pixels)."""
    face_height = np.linalg.norm(points[:, FOREHEAD, :2] - points[:, CHIN, :2], axis=-1, keepdims=True)
    # A nod shortens the face but not the head: the room is in heights of the less shortened faces.
    face_height = np.full_like(face_height, np.percentile(face_height, 75))
    low, high = points[:, :468, :2].min(1), points[:, :468, :2].max(1)
    middle = (low + high) / 2
    low = np.concatenate([middle[:, :1] - BESIDE * face_height, low[:, 1:] - ABOVE * face_height], 1)
    high = np.concatenate([middle[:, :1] + BESIDE * face_height, high[:, 1:] + BELOW * face_height], 1)
    # One wild detection must not blow the square up.
    low, high = np.percentile(low, 1, axis=0), np.percentile(high, 99, axis=0)
    side = int(np.ceil((high - low).max()))
    # Outside the picture there is nothing to see: move the square in as far as it goes.
    limits = np.array([width, height])
    side = min(side, int(limits.max()))
    corner = np.clip((low + high) / 2 - side / 2, np.minimum(0, limits - side), np.maximum(0, limits - side))
    return Crop(x=round(float(corner[0])), y=round(float(corner[1])), side=side, size=size)
