"""Points on triangle meshes: the closest point, borders, and connected parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

# Sample points of triangles (middles, and points near the corners) closest to a point, whose triangles are tried.
NEAR = 12
# Where between a triangle's middle and its corners those are.
TOWARD_CORNER = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfacePoints:
    """Points on a mesh: the face each lies on, barycentric coordinates, the place, and how far it was."""

    face: Int[np.ndarray, "N"]
    barycentric: Float[np.ndarray, "N 3"]
    place: Float[np.ndarray, "N 3"]
    distance: Float[np.ndarray, "N"]


@final
class IndexedSurface:
    """A mesh prepared for many searches of closest points."""

    def __init__(self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        self.corners = vertices[faces]
        means = self.corners.mean(1)
        samples = [means, *(TOWARD_CORNER * self.corners[:, k] + (1 - TOWARD_CORNER) * means for k in range(3))]
        self._tree = KDTree(np.concatenate(samples))
        self._near = min(NEAR, 4 * len(faces))

    def closest(self, points: Float[np.ndarray, "N 3"]) -> SurfacePoints:
        """The closest point of the mesh for each point, among the triangles whose middles and corners are nearest.

        Exact where triangles are of similar size, as on heads: of the 121,167 queries of one registration one was not,
        by 0.004 mm (docs/experiments.md, "Closest points").
        """
        near, corners = self._near, self.corners
        _, nearest = self._tree.query(points, k=near)
        candidates = np.asarray(nearest).reshape(len(points), near) % len(corners)
        repeated = np.repeat(points[:, None], near, 1).reshape(-1, 3)
        bary = barycentric_of_closest(repeated, corners[candidates.ravel()]).reshape(len(points), near, 3)
        place = np.einsum("nmk,nmkc->nmc", bary, corners[candidates])
        distance = np.linalg.norm(place - points[:, None], axis=2)
        best, rows = distance.argmin(1), np.arange(len(points))
        return SurfacePoints(
            face=candidates[rows, best],
            barycentric=bary[rows, best],
            place=place[rows, best],
            distance=distance[rows, best],
        )


def closest_points(
    points: Float[np.ndarray, "N 3"], vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> SurfacePoints:
    """`IndexedSurface.closest` of a mesh that is asked once."""
    return IndexedSurface(vertices, faces).closest(points)


def barycentric_of_closest(
    points: Float[np.ndarray, "N 3"], corners: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "N 3"]:
    """Barycentric coordinates of each triangle's point that is closest to the point of the same row."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-30)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    inside = np.stack([1 - s - t, s, t], 1)
    best = np.where((inside >= 0).all(1), 0.0, np.inf)
    result = inside
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, along = corners[:, first], corners[:, second] - corners[:, first]
        part = ((points - start) * along).sum(1) / np.maximum((along * along).sum(1), 1e-30)
        part = part.clip(0, 1)
        distance = ((points - start - part[:, None] * along) ** 2).sum(1)
        edge = np.zeros((len(points), 3))
        edge[:, first], edge[:, second] = 1 - part, part
        better = distance < best
        result = np.where(better[:, None], edge, result)
        best = np.where(better, distance, best)
    return result


def corner_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals at vertices, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def parts(faces: Int[np.ndarray, "F 3"], n_vertices: int) -> Int[np.ndarray, "V"]:
    """The number of the connected part that each vertex is in."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n_vertices, n_vertices))
    return np.asarray(connected_components(graph, directed=False)[1])


def border_loops(faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, "_"]]:
    """The closed borders of a mesh, each in the direction in which its own triangles run along it.

    Two holes that share a vertex are two borders. Borders of a mesh whose triangles contradict each other are left out.
    """
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    owner = dict(zip(map(tuple, directed.tolist()), np.tile(np.arange(len(faces)), 3).tolist(), strict=True))
    border = {edge for edge in owner if (edge[1], edge[0]) not in owner}
    loops: list[np.ndarray] = []
    while border:
        first = min(border)
        loop, edge = [first], first
        border.discard(first)
        while True:
            edge = _next_on_border(edge, owner, faces)
            if edge == first or edge not in border:
                break
            border.discard(edge)
            loop.append(edge)
        if edge == first:
            loops += _simple([a for a, _ in loop])
    return loops


def _simple(loop: list[int]) -> list[Int[np.ndarray, "K"]]:
    """A closed walk cut, wherever it comes back to a vertex, into walks that don't."""
    walks: list[np.ndarray] = []
    path: list[int] = []
    for vertex in loop:
        if vertex in path:
            start = path.index(vertex)
            walks.append(np.array(path[start:]))
            del path[start:]
        path.append(vertex)
    return [*walks, np.array(path)]


def _next_on_border(
    edge: tuple[int, int], owner: dict[tuple[int, int], int], faces: Int[np.ndarray, "F 3"]
) -> tuple[int, int]:
    """The border edge that leaves where `edge` arrives, found by turning through the triangles in between."""
    arrival = edge[1]
    current = edge
    for _ in range(len(faces)):
        corners = faces[owner[current]].tolist()
        leaving = (arrival, corners[(corners.index(arrival) + 1) % 3])
        if (leaving[1], leaving[0]) not in owner:
            return leaving
        current = (leaving[1], leaving[0])
    return edge
