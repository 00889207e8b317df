"""Where the points of one head lie on another: the open head is laid over a target and pulled onto its surface.

A similarity from the eyes is refined by closest points on the face; then every vertex of the skin moves, held together
by a membrane that is loosened step by step. Lips are told apart by which of them follow the jaw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

from flare_cli.errors import HeadError
from flare_cli.head.flame.surface import SurfacePoints, closest_points, corner_normals
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.score.shape import Similarity, similarity

# The way is that of Amberg et al. 2007 (optimal step nonrigid ICP), with a membrane instead of affine maps. The numbers
# were chosen by eye on a head shaped like FLAME (tests/support/flame_like.py), with no experiment logged.
ALIGNMENT_ROUNDS = 25
TRIMMED = 0.8  # part of the pairs, the closest, that count in the alignment
# The membrane's weight against a pull of 1 at each vertex, from nearly rigid to loose.
STIFFNESS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
ROUNDS_PER_STIFFNESS = 3
REACH = 0.02  # metres beyond which a closest point is no match
LEAST_FACING = 0.4  # cosine between the normals of a match
OTHER_LIP = 0.5  # a lip's point and its match may differ by this much in how far they follow the jaw (0..1)
ANCHOR_WEIGHT = 20.0  # of a point that the user's files give, against a pull of 1
LEAST_PULL = 1e-6  # keeps the system regular where nothing pulls
WORST_FIT = 0.006  # metres, median on the face: more than that, and it is not a head, or not in metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Points of the open head (face, barycentric) whose places on the target are known."""

    corners: Int[np.ndarray, "A 3"]
    barycentric: Float[np.ndarray, "A 3"]
    place: Float[np.ndarray, "A 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The head to find points on: `skin` and `eyes` choose faces, `jaw` is how much a vertex follows the jaw."""

    vertices: Float[np.ndarray, "W 3"]
    faces: Int[np.ndarray, "F 3"]
    skin: Bool[np.ndarray, "F"]
    eyes: tuple[Bool[np.ndarray, "F"], Bool[np.ndarray, "F"]]
    eye_centres: Float[np.ndarray, "2 3"]
    jaw: Float[np.ndarray, "W"]

    def closest(self, points: Float[np.ndarray, "N 3"], chosen: Bool[np.ndarray, "F"]) -> SurfacePoints:
        """Closest points on the chosen faces, with face numbers of the whole."""
        numbers = np.flatnonzero(chosen)
        closest = closest_points(points, self.vertices, self.faces[numbers])
        return SurfacePoints(
            face=numbers[closest.face],
            barycentric=closest.barycentric,
            place=closest.place,
            distance=closest.distance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The open head's vertices laid onto the target, its scale against the open head, and how well the face fits."""

    vertices: Float[np.ndarray, "V 3"]
    scale: float
    median_distance: float


def register(head: HeadModel, target: Target, anchors: Anchors | None = None) -> Registration:
    """Lay the open head onto the target. Raises `HeadError` if the target is not a head as FLAME has them."""
    faces = head.faces.numpy()
    region = {name: mask.numpy() for name, mask in head.regions.items()}
    outer = region["skin"] & ~region["inner_mouth"] & ~region["eye_sockets"]
    face = (region["face"] | region["lips"] | region["nose"]) & outer
    jaw = head.weights.numpy()[:, Joint.JAW].astype(np.float64)
    start = head.template.double().numpy()
    eye_joints = head.joints.double().numpy()[[Joint.EYE_LEFT, Joint.EYE_RIGHT]]
    aligned, scale = _aligned(start, faces, face, eye_joints, target)
    moved = aligned
    membrane = _membrane(faces, len(start))
    eyes = region["eyes"]
    balls = _balls(head, target, scale)
    for stiffness in STIFFNESS:
        for _ in range(ROUNDS_PER_STIFFNESS):
            weight, wanted = _pulls(moved, faces, outer, jaw, region["lips"], target)
            weight[eyes], wanted[eyes] = 1.0, balls[eyes]
            moved = aligned + _relaxed(membrane, stiffness, weight, wanted - aligned, anchors, aligned)
    distance = target.closest(moved[face], target.skin).distance
    median = float(np.median(distance))
    if not np.isfinite(median) or median > WORST_FIT:
        raise HeadError(
            f"the face does not match the open head's: {median * 1e3:.1f} mm apart",
            hint="the file must hold a head in metres, +y up, facing +z, as FLAME does",
        )
    return Registration(vertices=moved, scale=scale, median_distance=median)


def _balls(head: HeadModel, target: Target, scale: float) -> Float[np.ndarray, "V 3"]:
    """The open head's eyeballs, carried to the target's by centre and radius; other vertices mean nothing."""
    vertices, joints = head.template.double().numpy(), head.joints.double().numpy()
    side = np.where(head.weights.numpy()[:, Joint.EYE_LEFT] > 0.5, 0, 1)
    away = vertices - joints[[Joint.EYE_LEFT, Joint.EYE_RIGHT]][side]
    radius = [
        float(np.linalg.norm(target.vertices[np.unique(target.faces[eye])] - centre, axis=1).mean())
        for eye, centre in zip(target.eyes, target.eye_centres, strict=True)
    ]
    own_radius = np.linalg.norm(away[head.regions["eyes"].numpy()], axis=1).mean()
    return target.eye_centres[side] + away * (np.array(radius) / own_radius)[side][:, None]


def _aligned(
    start: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    face: Bool[np.ndarray, "V"],
    eyes: Float[np.ndarray, "2 3"],
    target: Target,
) -> tuple[Float[np.ndarray, "V 3"], float]:
    scale = float(np.linalg.norm(np.diff(target.eye_centres, axis=0)) / np.linalg.norm(np.diff(eyes, axis=0)))
    shift = target.eye_centres.mean(0) - scale * eyes.mean(0)
    laid = Similarity(scale=scale, rotation=np.eye(3), translation=shift)
    for _ in range(ALIGNMENT_ROUNDS):
        moved = laid.moved(start)
        closest = target.closest(moved[face], target.skin)
        near = closest.distance <= np.quantile(closest.distance, TRIMMED)
        # The eyes count as much as the face: they fix the size, which a smooth surface does not.
        count = int(near.sum()) // 2
        points = np.concatenate([start[face][near], np.repeat(eyes, count, 0)])
        wanted = np.concatenate([closest.place[near], np.repeat(target.eye_centres, count, 0)])
        laid = similarity(points, wanted)
    return laid.moved(start), laid.scale


def _pulls(
    moved: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    outer: Bool[np.ndarray, "V"],
    jaw: Float[np.ndarray, "V"],
    lips: Bool[np.ndarray, "V"],
    target: Target,
) -> tuple[Float[np.ndarray, "V"], Float[np.ndarray, "V 3"]]:
    """How much each vertex is pulled, and where to: to its closest point, if that faces the same way."""
    weight, wanted = np.zeros(len(moved)), moved.copy()
    numbers = np.flatnonzero(outer)
    closest = target.closest(moved[numbers], target.skin)
    corners = target.faces[closest.face]
    a, b, c = (target.vertices[corners[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    facing = (corner_normals(moved, faces)[numbers] * normal).sum(1)
    target_jaw = (target.jaw[corners] * closest.barycentric).sum(1)
    other_lip = lips[numbers] & (np.abs(target_jaw - jaw[numbers]) > OTHER_LIP)
    good = (facing > LEAST_FACING) & (closest.distance < REACH) & ~other_lip
    weight[numbers] = np.where(good, facing, 0)
    wanted[numbers] = closest.place
    return weight, wanted


def _membrane(faces: Int[np.ndarray, "F 3"], n: int) -> csr_matrix:
    """The graph Laplacian of the mesh."""
    edges = np.unique(np.sort(np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2), 1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    links = csr_matrix(coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n, n)))
    return csr_matrix(diags(np.asarray(links.sum(1)).ravel()) - links)


def _relaxed(
    membrane: csr_matrix,
    stiffness: float,
    weight: Float[np.ndarray, "V"],
    wanted: Float[np.ndarray, "V 3"],
    anchors: Anchors | None,
    aligned: Float[np.ndarray, "V 3"],
) -> Float[np.ndarray, "V 3"]:
    """Displacements that balance the pulls against the membrane."""
    system = stiffness * membrane + diags(weight + LEAST_PULL)
    right = weight[:, None] * wanted
    if anchors is not None:
        rows = np.repeat(np.arange(len(anchors.corners)), 3)
        shape = (len(anchors.corners), len(weight))
        point = csr_matrix(coo_matrix((anchors.barycentric.ravel(), (rows, anchors.corners.ravel())), shape=shape))
        system = system + ANCHOR_WEIGHT * point.T @ point
        right = right + ANCHOR_WEIGHT * point.T @ (anchors.place - point @ aligned)
    return splu(system.tocsc()).solve(right)
