"""Closing a head: the mouth and the eye sockets become pockets, so that a fit sees skin behind lips and lids.

FLAME's skin ends at the lips and lids. Each border but the neck's gets a pocket of rings that narrows inward to one
vertex. A pocket's vertex blends its border vertex with the mean of the border, more of the mean the deeper it is: so it
follows the jaw and every direction smoothly. Vertices of the original keep their numbers; new ones come after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix, identity

from flare_cli.head.flame.surface import border_loops

# Chosen by eye on a head shaped like FLAME.
RINGS = 5
MOUTH_DEPTH = 0.75  # of the mouth's half width: behind where teeth would be
ROOM = 1.06  # radius of a socket, in radii of its eyeball
BEHIND_BORDER = 1.8  # a border whose middle is within this many radii of an eyeball's centre is its lids
NEIGHBOURHOOD = 1.5  # of a border, in its own spans: where the way inward is found; its normals weigh by a Gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyeball:
    """A ball that a pocket must go around."""

    centre: Float[np.ndarray, "3"]
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedMesh:
    """A mesh with its holes closed. `carry` (W, V) makes values of all vertices from values of the original ones.

    `mouth`, `sockets` and `neck` are vertex numbers: the pockets without their borders, and the border left open.
    """

    vertices: Float[np.ndarray, "W 3"]
    faces: Int[np.ndarray, "F 3"]
    carry: csr_matrix
    mouth: Int[np.ndarray, "M"]
    sockets: Int[np.ndarray, "K"]
    neck: Int[np.ndarray, "N"]


def close_holes(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], eyeballs: list[Eyeball]
) -> ClosedMesh:
    """Close every border but the lowest, which is the neck's.

    The border around an eyeball becomes its socket, the largest other one the mouth, and the rest is closed flat.
    """
    loops = border_loops(faces)
    if not loops:
        none = np.zeros(0, np.int64)
        carry = csr_matrix(identity(len(vertices)))
        return ClosedMesh(vertices=vertices, faces=faces, carry=carry, mouth=none, sockets=none, neck=none)
    neck = min(range(len(loops)), key=lambda k: float(vertices[loops[k], 1].mean()))
    balls = {k: _ball_behind(vertices[loop], eyeballs) for k, loop in enumerate(loops) if k != neck}
    spans = {k: float(np.ptp(vertices[loops[k]], axis=0).max()) for k, ball in balls.items() if ball is None}
    mouth = max(spans, key=lambda k: spans[k]) if spans else -1
    outward = _outward(vertices, faces)
    builder = _Builder(vertices, faces)
    of_kind: dict[str, list[int]] = {"mouth": [], "sockets": [], "holes": []}
    for k, ball in balls.items():
        kind = "mouth" if k == mouth else "holes" if ball is None else "sockets"
        inward = _inward(vertices, loops[k], outward)
        depth = MOUTH_DEPTH * 0.5 * spans[k] if k == mouth else 0.0
        of_kind[kind] += builder.add_pocket(loops[k], inward, depth, ball)
    return ClosedMesh(
        vertices=builder.all_vertices(),
        faces=builder.all_faces(),
        carry=builder.carry(),
        mouth=np.array(of_kind["mouth"], np.int64),
        sockets=np.array(of_kind["sockets"], np.int64),
        neck=np.unique(loops[neck]),
    )


def _ball_behind(border: Float[np.ndarray, "K 3"], eyeballs: list[Eyeball]) -> Eyeball | None:
    near = [ball for ball in eyeballs if np.linalg.norm(border.mean(0) - ball.centre) < BEHIND_BORDER * ball.radius]
    return near[0] if near else None


def _outward(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], np.cross(b - a, c - a))
    return total


def _inward(
    vertices: Float[np.ndarray, "V 3"], loop: Int[np.ndarray, "K"], outward: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "3"]:
    """Into the head: against the normals in the neighbourhood of the border, which are steadier than its own plane."""
    middle = vertices[loop].mean(0)
    reach = NEIGHBOURHOOD * np.ptp(vertices[loop], axis=0).max()
    weight = np.exp(-((vertices - middle) ** 2).sum(1) / (2 * (0.5 * reach) ** 2))
    direction = -(outward * weight[:, None]).sum(0)
    return direction / max(float(np.linalg.norm(direction)), 1e-12)


class _Builder:
    """Collects pockets: places, triangles, and which original vertices a new one blends."""

    def __init__(self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        self._vertices, self._faces = vertices, faces
        self._places: list[np.ndarray] = []
        self._triangles: list[tuple[int, int, int]] = []
        self._blends: list[tuple[int, int, float]] = []

    def add_pocket(
        self, loop: Int[np.ndarray, "K"], inward: Float[np.ndarray, "3"], depth: float, ball: Eyeball | None
    ) -> list[int]:
        """Close one border and return the new vertices. Without depth and ball the hole is closed flat."""
        border = self._vertices[loop]
        middle = border.mean(0)
        if ball is not None:
            depth = float((ball.centre - middle) @ inward) + ROOM * ball.radius
        outer, added = list(loop.tolist()), []
        for angle in np.linspace(0, np.pi / 2, RINGS + 1)[1:-1]:
            narrow, deep = float(np.cos(angle)), float(np.sin(angle))
            places = middle + (border - middle) * narrow + inward * (depth * deep)
            ring = self._ring(_around(places, ball), loop, 1 - narrow)
            self._stitch(outer, ring)
            added += ring
            outer = ring
        bottom = self._ring(_around((middle + inward * depth)[None], ball), loop, 1.0)
        self._triangles += [(outer[(k + 1) % len(outer)], outer[k], bottom[0]) for k in range(len(outer))]
        return [*added, *bottom]

    def _ring(self, places: Float[np.ndarray, "N 3"], loop: Int[np.ndarray, "K"], mean: float) -> list[int]:
        first = len(self._vertices) + len(self._places)
        for k, place in enumerate(places):
            row = first + k
            self._places.append(place)
            self._blends += [(row, int(v), mean / len(loop)) for v in loop]
            if mean < 1:
                self._blends.append((row, int(loop[k]), 1 - mean))
        return list(range(first, first + len(places)))

    def _stitch(self, outer: list[int], ring: list[int]) -> None:
        # The skin runs along its border from k to k + 1, so the pocket runs back.
        for k in range(len(outer)):
            after = (k + 1) % len(outer)
            self._triangles += [(outer[after], outer[k], ring[k]), (outer[after], ring[k], ring[after])]

    def all_vertices(self) -> Float[np.ndarray, "W 3"]:
        """The original places and the new ones."""
        return np.concatenate([self._vertices, np.array(self._places).reshape(-1, 3)])

    def all_faces(self) -> Int[np.ndarray, "F 3"]:
        """The original triangles and the new ones."""
        return np.concatenate([self._faces, np.array(self._triangles, self._faces.dtype).reshape(-1, 3)])

    def carry(self) -> csr_matrix:
        """Blends of the original vertices."""
        V, W = len(self._vertices), len(self._vertices) + len(self._places)
        unchanged = [(v, v, 1.0) for v in range(V)]
        row, column, value = zip(*unchanged, *self._blends, strict=True)
        return csr_matrix(coo_matrix((value, (row, column)), shape=(W, V)))


def _around(places: Float[np.ndarray, "K 3"], ball: Eyeball | None) -> Float[np.ndarray, "K 3"]:
    """The same places, moved out of the eyeball where they are in it."""
    if ball is None:
        return places
    away = places - ball.centre
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    return ball.centre + away * np.maximum(1, ROOM * ball.radius / np.maximum(distance, 1e-9))
