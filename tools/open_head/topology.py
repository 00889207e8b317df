"""Which part of MakeHuman's mesh is the head, how it is triangulated, its own eyeballs, and its UV atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from makehuman import MakeHuman
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

EYE_SEGMENTS, EYE_RINGS = 24, 14
# MakeHuman's eyeballs (15.3 mm) fill the lids so tightly that closing lids, which move on straight lines, cut them.
EYE_SCALE = 0.97
HELPERS = {"upper_teeth": "helper-upper-teeth", "lower_teeth": "helper-lower-teeth", "tongue": "helper-tongue"}
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Eyeball:
    """One UV sphere: `offsets` from `centre`, poles on the gaze axis; `helper` are MakeHuman's own eye vertices."""

    centre: np.ndarray
    offsets: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    helper: np.ndarray
    vertices: np.ndarray  # their indices in the head


@dataclass(frozen=True)
class HeadMesh:
    """The head's topology and how any whole-body displacement reaches it."""

    data: MakeHuman
    source: np.ndarray  # body vertex of every head vertex that has one (all but the eyeballs)
    parts: dict[str, np.ndarray]  # head vertices of: skin, upper_teeth, lower_teeth, tongue
    eyes: dict[str, Eyeball]
    faces: np.ndarray
    face_part: np.ndarray  # index into part_names
    part_names: tuple[str, ...]
    uv: np.ndarray
    uv_faces: np.ndarray
    rest: np.ndarray  # the average adult (V, 3), exactly symmetric
    mirror: np.ndarray  # partner vertex on the other side

    def displacement(self, body: np.ndarray) -> np.ndarray:
        """A whole-body displacement on the head; eyeballs follow MakeHuman's by shift and scale."""
        out = np.zeros_like(self.rest)
        out[: len(self.source)] = body[self.source]
        for eye in self.eyes.values():
            shift, scale = self.eye_motion(body, eye)
            out[eye.vertices] = shift + scale * eye.offsets
        return out

    def eye_motion(self, body: np.ndarray, eye: Eyeball) -> tuple[np.ndarray, float]:
        """How far a displacement moves an eye's centre, and by which fraction it grows."""
        points = self.data.average_adult[eye.helper] - eye.centre
        moved = body[eye.helper]
        centred, moved_centred = points - points.mean(0), moved - moved.mean(0)
        scale = float((centred * moved_centred).sum() / (centred**2).sum())
        return moved.mean(0) - scale * points.mean(0), scale

    def mirrored(self, field: np.ndarray) -> np.ndarray:
        """A displacement field (..., V, 3) as seen in a mirror."""
        return field[..., self.mirror, :] * MIRROR

    def mask(self, *parts: str) -> np.ndarray:
        mask = np.zeros(len(self.rest), bool)
        for part in parts:
            mask[self.eyes[part].vertices if part in self.eyes else self.parts[part]] = True
        return mask


def head_mesh(data: MakeHuman) -> HeadMesh:
    """Cut the head out of the body, close the pieces up, and give them one atlas."""
    quads_of = {"skin": _skin_quads(data)}
    quads_of |= {part: np.where(data.quad_groups == group)[0] for part, group in HELPERS.items()}
    index_of, source, parts = np.full(len(data.vertices), -1), [], {}
    for part, quads in quads_of.items():
        used = np.unique(data.quads[quads])
        parts[part] = len(np.concatenate([[], *source])) + np.arange(len(used))
        index_of[used] = parts[part]
        source.append(used)
    source = np.concatenate(source)
    eyes = _eyeballs(data, first=len(source))

    rest = np.concatenate([data.average_adult[source], *(e.centre + e.offsets for e in eyes.values())])
    mirror = _mirror(data, index_of, source, eyes)
    symmetric = (rest + rest[mirror] * MIRROR) / 2
    assert np.abs(symmetric - rest).max() < 1e-4, "the average adult is symmetric to a tenth of a millimetre"

    all_quads = np.concatenate(list(quads_of.values()))
    faces, uv_corners = _triangles(index_of[data.quads[all_quads]], data.quad_uvs[all_quads], rest)
    face_part = np.repeat(np.arange(len(quads_of)), [2 * len(q) for q in quads_of.values()])
    uv, uv_faces = _atlas(data.uvs, uv_corners, faces, rest, eyes)
    face_part = np.concatenate([face_part, *(np.full(len(e.faces), 4 + i) for i, e in enumerate(eyes.values()))])
    faces = np.concatenate([faces, *(e.vertices[e.faces] for e in eyes.values())])
    return HeadMesh(data, source, parts, eyes, faces, face_part, (*quads_of, *eyes), uv, uv_faces, symmetric, mirror)


def _skin_quads(data: MakeHuman) -> np.ndarray:
    """Head and neck, cut like a bust: a plane that is lower in front, and an ellipse around the neck."""
    base, groups = data.average_adult, data.vertex_groups
    neck = base[groups["joint-neck"]].mean(0)
    above = base[:, 1] > neck[1] - 0.06 - 0.35 * np.clip(base[:, 2] - neck[2], -0.1, 0.1)
    near = np.hypot(base[:, 0] / 0.122, (base[:, 2] - neck[2]) / 0.135) < 1
    keep = np.zeros(len(base), bool)
    keep[groups["body"]] = True
    keep &= above & (near | (data.weights_below("head") > 0.3))
    quads = np.where((data.quad_groups == "body") & keep[data.quads].all(1))[0]
    quads = _largest_piece(data.quads, quads, len(base))
    for _ in range(9):  # drop quads that hang on the rim by two edges or fewer
        edges = np.sort(np.stack([data.quads[quads], np.roll(data.quads[quads], -1, 1)], -1), -1)
        _, which, count = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
        rim_edges = (count[which.reshape(-1, 4)] == 1).sum(1)
        quads = quads[rim_edges < 2]
    return quads


def _largest_piece(corners: np.ndarray, chosen: np.ndarray, n: int) -> np.ndarray:
    edges = np.concatenate([corners[chosen][:, [i, (i + 1) % 4]] for i in range(4)])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (n, n))
    piece = connected_components(graph, directed=False)[1][corners[chosen][:, 0]]
    return chosen[piece == np.bincount(piece).argmax()]


def _eyeballs(data: MakeHuman, *, first: int) -> dict[str, Eyeball]:
    eyes = {}
    faces, uv, uv_faces = _sphere_topology()
    left = data.vertex_groups["helper-l-eye"]
    centre, radii = _sphere_fit(data.average_adult[left])
    for name, helper, side in (
        ("eyeball_left", left, 1.0),
        ("eyeball_right", data.vertex_groups["helper-r-eye"], -1.0),
    ):
        offsets = _sphere_points(radii) * EYE_SCALE
        vertices = first + np.arange(len(offsets))
        eyes[name] = Eyeball(centre * [side, 1, 1], offsets, faces, uv, uv_faces, helper, vertices)
        first += len(offsets)
    return eyes


def _sphere_fit(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of the white of the eye, and the radius on every ring of ours (the cornea bulges)."""
    centre = points.mean(0)
    for _ in range(20):
        back = points[:, 2] < centre[2] + 0.005
        system = np.c_[2 * points[back], np.ones(back.sum())]
        centre = np.linalg.lstsq(system, (points[back] ** 2).sum(1), rcond=None)[0][:3]
    radius = np.linalg.norm(points - centre, axis=1)
    angle = np.arccos(np.clip((points - centre)[:, 2] / radius, -1, 1))
    rings = np.unique(np.round(angle, 2))
    near = [np.abs(angle - ring) < 0.02 for ring in rings]
    profile = [radius[n].mean() if n.any() else radius.mean() for n in near]
    return centre, np.interp(np.linspace(0, np.pi, EYE_RINGS + 1), rings, profile)


def _sphere_points(radii: np.ndarray) -> np.ndarray:
    polar = np.linspace(0, np.pi, EYE_RINGS + 1)[1:-1, None]
    around = np.arange(EYE_SEGMENTS) * 2 * np.pi / EYE_SEGMENTS
    ring = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar) + 0 * around], -1)
    rings = (ring * radii[1:-1, None, None]).reshape(-1, 3)
    return np.concatenate([[[0, 0, radii[0]]], rings, [[0, 0, -radii[-1]]]])


def _sphere_topology() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces, azimuthal UVs around the pupil (0.5, 0.5), and UV faces (the back pole is a circle in the atlas)."""

    def at(ring: int, segment: int) -> int:
        return 1 + (ring - 1) * EYE_SEGMENTS + segment % EYE_SEGMENTS

    last = 1 + (EYE_RINGS - 1) * EYE_SEGMENTS
    faces, uv_faces = [], []
    for j in range(EYE_SEGMENTS):
        faces.append([0, at(1, j), at(1, j + 1)])
        for k in range(1, EYE_RINGS - 1):
            a, b, c, d = at(k, j), at(k + 1, j), at(k + 1, j + 1), at(k, j + 1)
            faces += [[a, b, c], [a, c, d]]
        uv_faces += faces[len(uv_faces) :]
        a, b = at(EYE_RINGS - 1, j), at(EYE_RINGS - 1, j + 1)
        faces.append([a, last, b])
        uv_faces.append([a, last + j, b])
    radius = 0.5 * np.arange(1, EYE_RINGS + 1)[:, None] / EYE_RINGS
    around = np.arange(EYE_SEGMENTS) * 2 * np.pi / EYE_SEGMENTS
    disc = 0.5 + np.stack([radius * np.cos(around), radius * np.sin(around)], -1).reshape(-1, 2)
    return np.array(faces), np.concatenate([[[0.5, 0.5]], disc]), np.array(uv_faces)


def _mirror(data: MakeHuman, index_of: np.ndarray, source: np.ndarray, eyes: dict[str, Eyeball]) -> np.ndarray:
    body = index_of[data.mirror[source]]
    assert (body >= 0).all(), "the cut keeps both sides"
    ring = np.arange(EYE_RINGS - 1)[:, None] * EYE_SEGMENTS
    turned = 1 + ring + (EYE_SEGMENTS // 2 - np.arange(EYE_SEGMENTS)) % EYE_SEGMENTS
    flipped = np.concatenate([[0], turned.ravel(), [1 + (EYE_RINGS - 1) * EYE_SEGMENTS]])
    left, right = eyes["eyeball_left"].vertices, eyes["eyeball_right"].vertices
    return np.concatenate([body, right[flipped], left[flipped]])


def _triangles(quads: np.ndarray, quad_uvs: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split quads along their shorter diagonal."""
    first = np.linalg.norm(points[quads[:, 0]] - points[quads[:, 2]], axis=1)
    second = np.linalg.norm(points[quads[:, 1]] - points[quads[:, 3]], axis=1)
    ways = np.array([[[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]]])
    corners = ways[(first > second).astype(int)].reshape(len(quads), 6)
    triangles, uv_triangles = (np.take_along_axis(values, corners, 1).reshape(-1, 3) for values in (quads, quad_uvs))
    return triangles, uv_triangles


def _atlas(body_uv, uv_corners, faces, points, eyes: dict[str, Eyeball]) -> tuple[np.ndarray, np.ndarray]:
    """MakeHuman's own islands, repacked for the head alone: skin above, eyes and mouth parts in a strip below."""
    used = np.unique(uv_corners)
    index_of = np.full(len(body_uv), -1)
    index_of[used] = np.arange(len(used))
    old, uv_faces = body_uv[used], index_of[uv_corners]
    edges = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(old), len(old)))
    count, island = connected_components(graph, directed=False)
    boxes = [(old[island == k].min(0), old[island == k].max(0)) for k in range(count)]
    crosses = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    area = np.bincount(island[uv_faces[:, 0]], np.linalg.norm(crosses, axis=1), count)
    main = int(area.argmax())

    low, high = boxes[main]
    scale = min(0.98 / (high - low)[0], 0.76 / (high - low)[1])
    top = 0.99 - (high - low)[1] * scale  # of the strip
    new = np.zeros_like(old)
    new[island == main] = (old[island == main] - low) * scale + [0.01, top]
    eye_size = min(0.2, top - 0.02)
    x = 0.01 + len(eyes) * (eye_size + 0.01)
    rest = sorted((k for k in range(count) if k != main), key=lambda k: -(boxes[k][1] - boxes[k][0])[1])
    small = scale
    while (places := _shelves([(boxes[k][1] - boxes[k][0]) * small for k in rest], 0.99 - x, top - 0.015)) is None:
        small *= 0.95
    for k, place in zip(rest, places, strict=True):
        new[island == k] = (old[island == k] - boxes[k][0]) * small + place + [x, 0.005]
    for i, eye in enumerate(eyes.values()):
        uv_faces = np.concatenate([uv_faces, eye.uv_faces + len(new)])
        new = np.concatenate([new, eye.uv * eye_size + [0.01 + i * (eye_size + 0.01), 0.005]])
    return new, uv_faces


def _shelves(sizes: list[np.ndarray], width: float, height: float) -> list[np.ndarray] | None:
    """Lower left corners of boxes put in rows, or None where they don't fit."""
    x = y = row = 0.0
    places = []
    for box in sizes:
        w, h = box + 0.006
        if x + w > width:
            x, y, row = 0.0, y + row, 0.0
        if w > width or y + h > height:
            return None
        places.append(np.array([x, y]))
        x, row = x + w, max(row, h)
    return places
