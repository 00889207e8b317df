"""Pieces of a person as painted triangles, and the ways in which they follow the head."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from flare_cli.data.celebamask import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    """Appearance of vertices; what each value means stands in `PaintedMesh`."""

    albedo: Float[np.ndarray, "V 3"]
    roughness: Float[np.ndarray, "V"]
    specular: Float[np.ndarray, "V"]
    sharp: Float[np.ndarray, "V"]
    labels: Int[np.ndarray, "V"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gloss:
    """Perceptual roughness, specular intensity and share of the sharp lobe of one material."""

    roughness: float
    specular: float
    sharp: float = 0.0


def evenly(albedo: Float[np.ndarray, "V 3"], gloss: Gloss, label: Label) -> Paint:
    """One material and one label; colours vary."""
    ones = np.ones(len(albedo))
    return Paint(
        albedo=albedo,
        roughness=gloss.roughness * ones,
        specular=gloss.specular * ones,
        sharp=gloss.sharp * ones,
        labels=np.full(len(albedo), int(label)),
    )


def joined(paints: list[Paint]) -> Paint:
    """One after the other."""
    return Paint(**{field.name: np.concatenate([getattr(p, field.name) for p in paints]) for field in fields(Paint)})


@dataclass(frozen=True, slots=True)
class Motion:
    """Where a rigid body went: `x @ rotation.T + shift`."""

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, places: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Places after it."""
        return places @ self.rotation.T + self.shift


def rigid_motion(before: Float[np.ndarray, "N 3"], after: Float[np.ndarray, "N 3"]) -> Motion:
    """The rigid motion nearest to how points moved (Kabsch 1976)."""
    rotation = Rotation.align_vectors(after - after.mean(0), before - before.mean(0))[0].as_matrix()
    return Motion(rotation, after.mean(0) - rotation @ before.mean(0))


@runtime_checkable
class Part(Protocol):
    """Triangles with their paint, and where they are once the skin is posed and the skull has moved."""

    @property
    def faces(self) -> Int[np.ndarray, "F 3"]:
        """Corners, counted within the part."""
        ...

    @property
    def paint(self) -> Paint:
        """Of its vertices."""
        ...

    def placed(self, skin: Float[np.ndarray, "W 3"], skull: Motion) -> Float[np.ndarray, "V 3"]:
        """Vertices in world space."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSkull:
    """What moves with the skull as one piece: the hair of the head, glasses."""

    vertices: Float[np.ndarray, "V 3"]  # at rest
    faces: Int[np.ndarray, "F 3"]
    paint: Paint

    def placed(self, skin: Float[np.ndarray, "W 3"], skull: Motion) -> Float[np.ndarray, "V 3"]:
        """Carried by the skull."""
        del skin
        return skull(self.vertices)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSkin:
    """What stands on the skin's triangles and turns with them: brows, lashes, stubble."""

    local: Float[np.ndarray, "V 3"]  # in the frame of the triangle at the root
    roots: Int[np.ndarray, "V 3"]  # its corners
    faces: Int[np.ndarray, "F 3"]
    paint: Paint

    def placed(self, skin: Float[np.ndarray, "W 3"], skull: Motion) -> Float[np.ndarray, "V 3"]:
        """Carried by the triangles."""
        del skull
        origin, frame = triangle_frames(skin, self.roots)
        return origin + np.einsum("vij,vj->vi", frame, self.local)


def on_skin(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    paint: Paint,
    *,
    skin: Float[np.ndarray, "W 3"],
    roots: Int[np.ndarray, "V 3"],
) -> OnSkin:
    """Triangles that stand on a skin at rest, each vertex by the triangle with corners `roots`."""
    origin, frame = triangle_frames(skin, roots)
    return OnSkin(local=np.einsum("vij,vi->vj", frame, vertices - origin), roots=roots, faces=faces, paint=paint)


def triangle_frames(
    vertices: Float[np.ndarray, "W 3"], corners: Int[np.ndarray, "N 3"]
) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3 3"]]:
    """First corners, and orthonormal axes (columns): along the first edge, in the plane, and outwards."""
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    along = unit(b - a)
    outward = unit(np.cross(b - a, c - a))
    return a, np.stack([along, np.cross(outward, along), outward], -1)


def unit(vectors: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """Vectors of length 1; what is 0 stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def tubes(
    paths: Float[np.ndarray, "N K 3"], radii: Float[np.ndarray, "N K"], *, sides: int = 3, closed: bool = False
) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Tubes around polylines, `sides` vertices a point, in the order of the points; `closed` joins the ends."""
    count, points = paths.shape[:2]
    along = np.roll(paths, -1, 1) - np.roll(paths, 1, 1)
    if not closed:
        along[:, 0], along[:, -1] = paths[:, 1] - paths[:, 0], paths[:, -1] - paths[:, -2]
    along = unit(along)
    # One helper for a whole tube, so that its sides do not twist: the axis its path is least along.
    helper = np.eye(3)[np.abs(along).mean(1).argmin(-1)][:, None]
    first = unit(np.cross(along, helper))
    second = np.cross(along, first)
    turn = 2 * np.pi * np.arange(sides) / sides
    ring = first[:, :, None] * np.cos(turn)[:, None] + second[:, :, None] * np.sin(turn)[:, None]
    vertices = (paths[:, :, None] + radii[:, :, None, None] * ring).reshape(-1, 3)
    k, s = np.meshgrid(np.arange(points if closed else points - 1), np.arange(sides), indexing="ij")
    here, there = k * sides, (k + 1) % points * sides
    a, b, c, d = here + s, here + (s + 1) % sides, there + s, there + (s + 1) % sides
    one = np.stack([a, b, d, a, d, c], -1).reshape(-1, 3)
    return vertices, (one + (np.arange(count) * points * sides)[:, None, None]).reshape(-1, 3)
