"""How close surfaces are, apart from where they are and how large: points laid onto each other by a similarity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

# From points to the place on a surface that is closest to each, and the surface's unit normal there.
ClosestPlaces: TypeAlias = Callable[
    [Float[np.ndarray, "N 3"]], tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """`scale * rotation @ point + translation`."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def moved(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """These points after it."""
        return self.scale * points @ self.rotation.T + self.translation


def similarity(source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"]) -> Similarity:
    """The similarity that brings `source` closest to the `target` of the same row (least squares; Umeyama 1991).

    Proper: it turns, and never mirrors.
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred, wanted = source - source_mean, target - target_mean
    u, stretch, vt = np.linalg.svd(wanted.T @ centred)
    proper = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * proper) @ vt
    scale = float((stretch * proper).sum() / np.square(centred).sum())
    return Similarity(scale=scale, rotation=rotation, translation=target_mean - scale * rotation @ source_mean)


def vertex_distance(drawn: Float[np.ndarray, "N 3"], true: Float[np.ndarray, "N 3"]) -> float:
    """Mean distance of corresponding points once the drawn ones are laid onto the true ones."""
    return float(np.linalg.norm(similarity(drawn, true).moved(drawn) - true, axis=1).mean())


def surface_distance(true: Float[np.ndarray, "N 3"], closest: ClosestPlaces, *, scale: float, rounds: int) -> float:
    """Mean distance of true points from a drawn surface that has no vertices of the same meaning, in true size.

    The points, first made `scale` times as large, are laid onto the surface by a similarity: `rounds` times towards the
    tangent planes at the closest places (Chen and Medioni 1992), so they have to start near it.
    """
    laid = scale * true
    for _ in range(rounds):
        step = _towards_planes(laid, *closest(laid))
        laid, scale = step.moved(laid), scale * step.scale
    return float(np.linalg.norm(closest(laid)[0] - laid, axis=1).mean()) / scale


def _towards_planes(
    points: Float[np.ndarray, "N 3"], places: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"]
) -> Similarity:
    """The small similarity that brings points closest to planes, along their normals (linear least squares)."""
    middle = points.mean(0)
    arms = points - middle
    slopes = np.concatenate([np.cross(arms, normals), normals, (arms * normals).sum(1, keepdims=True)], 1)
    motion = np.linalg.lstsq(slopes, ((places - points) * normals).sum(1), rcond=None)[0]
    rotation, scale = Rotation.from_rotvec(motion[:3]).as_matrix(), float(1 + motion[6])
    return Similarity(scale=scale, rotation=rotation, translation=middle + motion[3:6] - scale * rotation @ middle)
