"""Finding faces: MediaPipe's short-range detector, on the whole picture and, for small faces, on tiles of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.track.face.litert_network import Network

INPUT = 128  # pixels
# MediaPipe's own for this network: confidence of a detection, and overlap (intersection over union) of a face's boxes.
MIN_SCORE = 0.5
SAME_FACE_OVERLAP = 0.3
# How much of its size a face at the picture's edge counts less than one in the middle. Chosen by eye.
OFF_CENTRE_LOSS = 0.4
# Tiles of 1, 1/2 and 1/4 of the short side: at 1080p they find faces from about 55 pixels up.
TILE_LEVELS = (1, 2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A detected face in source pixels: box (x0, y0, x1, y1) and the two eye centres, subject's right eye first."""

    box: Float[np.ndarray, "4"]
    eyes: Float[np.ndarray, "2 2"]
    score: float

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """Middle of the box."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> float:
        """Longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())


def ssd_anchors() -> Float[np.ndarray, "896 2"]:
    """Anchor centres (x, y) in 0..1: 2 per cell of a 16 x 16 grid, then 6 per cell of an 8 x 8 grid."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2) + 0.5, repeats, 0) / cells)
    return np.concatenate(grids).astype(np.float32)


@final
class FaceDetector:
    """Finds all faces in a picture."""

    def __init__(self) -> None:
        self._network = Network("face_detection_short_range")
        self._anchors = ssd_anchors()

    def search(self, rgb: UInt8[np.ndarray, "H W 3"], *, tiles: bool) -> Iterator[list[Face]]:
        """Faces of the whole picture; then, if `tiles`, those of ever smaller tiles. Stop when one is good enough."""
        height, width = rgb.shape[:2]
        yield self._find_in(rgb, (0, 0), max(height, width))
        for level in TILE_LEVELS if tiles else ():
            side = max(INPUT // 2, min(height, width) // level)
            by_tile = [self._find_in(rgb, corner, side) for corner in _tile_corners(height, width, side)]
            yield _merged([face for faces in by_tile for face in faces])

    def _find_in(self, rgb: UInt8[np.ndarray, "H W 3"], corner: tuple[int, int], side: int) -> list[Face]:
        x, y = corner
        tile = rgb[y : y + side, x : x + side]
        padded = cv2.copyMakeBorder(tile, 0, side - tile.shape[0], 0, side - tile.shape[1], cv2.BORDER_CONSTANT)
        interpolation = cv2.INTER_AREA if side > INPUT else cv2.INTER_LINEAR
        picture = cv2.resize(padded, (INPUT, INPUT), interpolation=interpolation)
        regressors, logits = self._network(picture.astype(np.float32) / 127.5 - 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -50, 50)))
        sure = scores >= MIN_SCORE
        points = regressors[sure].reshape(-1, 8, 2) / INPUT
        points[:, 0] += self._anchors[sure]
        points[:, 2:] += self._anchors[sure][:, None]
        points *= side
        half = points[:, 1] / 2
        boxes = np.concatenate([points[:, 0] - half, points[:, 0] + half], 1)
        offset = np.array(corner, np.float32)
        return _merged(
            [
                Face(box=box + np.tile(offset, 2), eyes=eyes + offset, score=float(score))
                for box, eyes, score in zip(boxes, points[:, 2:4], scores[sure], strict=True)
            ]
        )


def by_merit(faces: list[Face], height: int, width: int, near: Float[np.ndarray, "2"] | None) -> list[Face]:
    """The faces to follow, best first: the closest to `near`, else the largest and most central."""
    if near is not None:
        return sorted(faces, key=lambda face: float(np.linalg.norm(face.centre - near)) / face.size)
    middle = np.array([width / 2, height / 2])

    def merit(face: Face) -> float:
        off_centre = float(np.linalg.norm((face.centre - middle) / middle))
        return face.size * (1 - OFF_CENTRE_LOSS * min(1.0, off_centre))

    return sorted(faces, key=lambda face: -merit(face))


def _tile_corners(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Corners of tiles that cover the picture, each overlapping the next by at least half."""
    for y in _tile_starts(height, side):
        for x in _tile_starts(width, side):
            yield int(x), int(y)


def _tile_starts(length: int, side: int) -> Float[np.ndarray, "K"]:
    return np.linspace(0, max(0, length - side), max(1, math.ceil(2 * length / side) - 1))


def _merged(faces: list[Face]) -> list[Face]:
    """Weighted non-maximum suppression: boxes that overlap become their score-weighted mean."""
    rest, kept = sorted(faces, key=lambda face: -face.score), []
    while rest:
        same = [face for face in rest if _overlap(rest[0].box, face.box) > SAME_FACE_OVERLAP] or rest[:1]
        weights = np.array([face.score for face in same]) / sum(face.score for face in same)
        kept.append(
            Face(
                box=np.einsum("i,ik->k", weights, np.stack([face.box for face in same])),
                eyes=np.einsum("i,ijk->jk", weights, np.stack([face.eyes for face in same])),
                score=same[0].score,
            )
        )
        rest = [face for face in rest if not any(face is other for other in same)]
    return kept


def _overlap(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    """Intersection over union."""
    common = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common + 1e-9))
