"""The 478 MediaPipe points of one face through a video: Face Mesh on a followed crop, iris network on the eyes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.parallel.cores import cores
from flare_cli.track.face.detector import Face, FaceDetector, by_merit
from flare_cli.track.face.litert_network import Network

MESH_INPUT, IRIS_INPUT = 192, 64
N_MESH_POINTS, N_POINTS = 468, 478
# MediaPipe's own (its graphs face_landmark_landmarks_to_roi and iris_landmark_landmarks_to_roi): the face's square in
# sizes of the box around the points, the eye's in distances between its corners; and the score that a face needs.
FACE_MARGIN, EYE_MARGIN = 1.5, 2.3
MIN_SCORE = 0.5
# Detections that are tried in a frame.
MAX_TRIES = 3
# The detector looks through tiles of a picture without a face only this often (frames): tiles are slow.
TILE_SEARCH_EVERY = 10
# A lost face is looked for where it was for this many frames (a second), then anywhere.
FORGET_AFTER = 30

RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER = 33, 133, 362, 263
RIGHT_IRIS, LEFT_IRIS = 468, 473
# Iris points are middle, left, top, right, bottom as seen on the subject's right eye; mirrored, left and right swap.
MIRRORED_IRIS = [0, 3, 2, 1, 4]
# Where the iris network's first 32 points (lid rims, and the ring around them) sit in Face Mesh. The subject's left
# eye is the mirror image of its right eye.
RIGHT_LIDS = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
)
LEFT_LIDS = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
    *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
)

# The outer rim of the lips, all around.
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

# Face Mesh puts these on the outline of the face as seen, so they slide over the skin when the head turns.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceMesh:
    """Points in source pixels (z in pixels too, smaller is nearer) and the network's belief that this is a face."""

    points: Float[np.ndarray, "468 3"]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Square:
    """A turned square in a picture: middle, side in pixels, and the angle by which its x axis is turned."""

    x: float
    y: float
    side: float
    angle: float

    def to_picture(self, size: int, *, mirrored: bool = False) -> Float[np.ndarray, "2 3"]:
        """Affine map from a `size` x `size` crop to the picture."""
        scale = self.side / size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        flip = -1.0 if mirrored else 1.0
        linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
        return np.concatenate([linear, [[self.x], [self.y]] - linear @ [[size / 2], [size / 2]]], 1)

    def cropped(
        self, rgb: UInt8[np.ndarray, "H W 3"], size: int, *, mirrored: bool = False
    ) -> Float[np.ndarray, "h w 3"]:
        """The square as a float crop in 0..1; a large one is sampled finer and averaged, so that it does not alias."""
        finer = int(np.clip(round(self.side / size), 1, 4))
        matrix = self.to_picture(size * finer, mirrored=mirrored)
        # OpenCV counts from pixel centres, we count from pixel corners.
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(rgb, matrix, (size * finer, size * finer), flags=flags)
        if finer > 1:
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        return np.divide(crop, np.float32(255), dtype=np.float32)


@final
class FaceFollower:
    """Follows one person's face from frame to frame: the largest and most central face of the first frame with any,
    or, by `rank` 2, 3, ..., the one after it.

    Where to look in a frame comes from the frame before, so this is done one frame after another. `most` is how many
    faces were there at once when one was looked for.
    """

    def __init__(self, rank: int = 1) -> None:
        self._rank = rank
        self.most = 0
        self._detector = FaceDetector()
        # On few cores, all of them are taken by what runs beside: reading the video, and the eyes.
        self._mesh = Network("face_landmark", threads=2 if cores() >= 4 else 1)
        self._square: _Square | None = None
        self._last: Float[np.ndarray, "2"] | None = None
        self._lost = 0

    def __call__(self, rgb: UInt8[np.ndarray, "H W 3"]) -> FaceMesh | None:
        """The followed face in the next frame, or None if it is not there."""
        mesh = self._mesh_in(rgb, self._square) if self._square is not None else None
        if mesh is None:
            mesh = self._search(rgb)
        if mesh is None:
            self._square = None
            self._lost += 1
            return None
        self._lost = 0
        self._square = _square_around(mesh.points)
        self._last = mesh.points[:, :2].mean(0)
        return mesh

    def forget(self) -> None:
        """Look for the face anew in the next frame, as in the first: a new shot begins there."""
        self._square, self._last, self._lost = None, None, 0

    def _search(self, rgb: UInt8[np.ndarray, "H W 3"]) -> FaceMesh | None:
        near = self._last if self._lost < FORGET_AFTER else None
        rank = 1 if near is not None else self._rank
        found: list[FaceMesh] = []
        for faces in self._detector.search(rgb, tiles=self._lost % TILE_SEARCH_EVERY == 0):
            # The detector takes some round things for faces; the landmark network knows better.
            for face in by_merit(faces, rgb.shape[0], rgb.shape[1], near)[: MAX_TRIES + rank - 1]:
                rough = self._mesh_in(rgb, _square_of_detection(face))
                if rough is not None and not any(_same_face(rough, other) for other in found):
                    found.append(rough)
            self.most = max(self.most, len(found))
            if len(found) >= rank:
                rough = found[rank - 1]
                # A second look with the square of the points themselves is what the following frames get.
                return self._mesh_in(rgb, _square_around(rough.points)) or rough
        return None

    def _mesh_in(self, rgb: UInt8[np.ndarray, "H W 3"], square: _Square) -> FaceMesh | None:
        raw, logit = self._mesh(square.cropped(rgb, MESH_INPUT))
        score = float(1 / (1 + np.exp(-np.clip(logit.reshape(-1)[0], -50, 50))))
        if score < MIN_SCORE:
            return None
        return FaceMesh(points=_in_picture(raw.reshape(N_MESH_POINTS, 3), square, MESH_INPUT), score=score)


@final
class EyeFinder:
    """Finds irises and lids where the mesh has an eye: the last ten points, and better ones for the lids.

    It needs no other frame. Runs on one thread: there can be several.
    """

    def __init__(self) -> None:
        self._network = Network("iris_landmark", threads=1)

    def __call__(self, rgb: UInt8[np.ndarray, "H W 3"], mesh: FaceMesh) -> Float[np.ndarray, "478 3"]:
        """All landmarks of a frame whose face has been found."""
        points = np.zeros((N_POINTS, 3))
        points[:N_MESH_POINTS] = mesh.points
        for corners, lids, iris, mirrored in (
            ((RIGHT_EYE_OUTER, RIGHT_EYE_INNER), RIGHT_LIDS, RIGHT_IRIS, False),
            ((LEFT_EYE_INNER, LEFT_EYE_OUTER), LEFT_LIDS, LEFT_IRIS, True),
        ):
            eye = _square_of_eye(mesh.points[list(corners), :2])
            rims, irises = self._network(eye.cropped(rgb, IRIS_INPUT, mirrored=mirrored))
            around = _in_picture(rims.reshape(71, 3)[: len(lids)], eye, IRIS_INPUT, mirrored=mirrored)
            points[list(lids), :2] = around[:, :2]
            order = MIRRORED_IRIS if mirrored else slice(None)
            points[iris : iris + 5] = _in_picture(irises.reshape(5, 3)[order], eye, IRIS_INPUT, mirrored=mirrored)
            points[iris : iris + 5, 2] = points[list(lids[:16]), 2].mean()
        return points.astype(np.float32)


def _in_picture(
    points: Float[np.ndarray, "N 3"], square: _Square, size: int, *, mirrored: bool = False
) -> Float[np.ndarray, "N 3"]:
    matrix = square.to_picture(size, mirrored=mirrored)
    flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([flat, points[:, 2:] * square.side / size], 1)


def _same_face(one: FaceMesh, other: FaceMesh) -> bool:
    """Whether one lies on the other: in small tiles an eye of a large face may look like a face."""
    away = np.linalg.norm(one.points[:, :2].mean(0) - other.points[:, :2].mean(0))
    return bool(away < max(np.ptp(mesh.points[:, 0]) for mesh in (one, other)) / 2)


def _square_around(points: Float[np.ndarray, "468 3"]) -> _Square:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    x, y = (low + high) / 2
    along = points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2]
    side = float((high - low).max()) * FACE_MARGIN
    return _Square(x=float(x), y=float(y), side=side, angle=math.atan2(along[1], along[0]))


def _square_of_detection(face: Face) -> _Square:
    along = face.eyes[1] - face.eyes[0]
    angle = math.atan2(along[1], along[0])
    return _Square(x=float(face.centre[0]), y=float(face.centre[1]), side=face.size * FACE_MARGIN, angle=angle)


def _square_of_eye(corners: Float[np.ndarray, "2 2"]) -> _Square:
    along = corners[1] - corners[0]
    x, y = corners.mean(0)
    side = float(np.abs(along).max()) * EYE_MARGIN
    return _Square(x=float(x), y=float(y), side=max(side, 4.0), angle=math.atan2(along[1], along[0]))
