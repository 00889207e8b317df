"""MediaPipe's iris points on the eyeballs: four around each pupil, of which lids hide the top and the bottom."""

from __future__ import annotations

import numpy as np

# centre, right of it (in the picture), top, left, bottom; the subject's right eye comes first.
IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
HIDDEN_SPREAD = 0.002


def complete_irises(
    face: np.ndarray, barycentric: np.ndarray, spread: np.ndarray, points: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give missing top and bottom points the place one horizontal iris radius from the centre."""
    face, barycentric, spread = face.copy(), barycentric.copy(), spread.copy()

    def place_of(point: int) -> np.ndarray:
        return barycentric[point] @ points[faces[face[point]]]

    for centre, one, top, other, bottom in IRISES:
        radius = np.linalg.norm(place_of(one) - place_of(other)) / 2
        for hidden, up in ((top, radius), (bottom, -radius)):
            if face[hidden] < 0:
                face[hidden], barycentric[hidden] = _front_hit(place_of(centre) + np.array([0, up, 0]), points, faces)
                spread[hidden] = HIDDEN_SPREAD
    return face, barycentric, spread


def _front_hit(place: np.ndarray, points: np.ndarray, faces: np.ndarray) -> tuple[int, np.ndarray]:
    """The face that a ray along -z through (x, y) of `place` meets nearest to its z, and where."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        bary = np.stack([_cross(b - place, c - place), _cross(c - place, a - place), _cross(a - place, b - place)], 1)
        bary = bary / area[:, None]
    hit = np.flatnonzero((bary >= 0).all(1) & (area > 0))
    depth = (bary[hit, :, None] * points[faces[hit]]).sum(1)[:, 2]
    best = hit[np.abs(depth - place[2]).argmin()]
    return int(best), bary[best]


def _cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Twice the signed area between directions, seen along z."""
    return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
