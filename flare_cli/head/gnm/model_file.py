"""Reading Google's GNM Head v3 as its makers publish it, and making a head model of it.

Nothing of GNM comes with this program: people download `gnm_head.npz` (https://github.com/google/GNM, Apache-2.0). Its
arrays are named and shaped as that repository documents them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_matrix, identity
from torch import Tensor

from flare_cli.data.array_file import read_npz
from flare_cli.errors import HeadError
from flare_cli.head.flame.arkit_fit import fit_arkit
from flare_cli.head.flame.extras import FlameExtras, uv_of_closed_mesh
from flare_cli.head.flame.holes import ClosedMesh
from flare_cli.head.flame.landmark_transfer import transferred_68, transferred_landmarks, transferred_regions
from flare_cli.head.flame.registration import Target, register
from flare_cli.head.flame.surface import border_loops, parts
from flare_cli.head.joints import PARENTS, Joint
from flare_cli.head.model import ArkitMap, HeadModel
from flare_cli.head.open_head import content_digest, load_open_head

EDITION, LICENCE = "gnm-3.0", "Apache-2.0 (Google GNM, supplied by the user)"
# Raise when what is made of the file changes: avatars know their head by a digest that holds this number.
PREPARED = 1
LARGEST = 1 << 29  # bytes that its arrays may be: those of version 3.0 are some 160 MB
JOINTS, JOINT_PARENTS = ("neck", "head", "left_eye", "right_eye"), (-1, 0, 1, 1)
OURS = (Joint.ROOT, Joint.NECK, Joint.EYE_LEFT, Joint.EYE_RIGHT)  # of each of `JOINTS`
POSE_FEATURES = 9 * (len(Joint) - 1)
# So many of each region's components, which come in the order of their variance: with all 383 the track of a minute
# would take gigabytes, and landmarks tell no more apart.
KEPT = {"lower_face_region": 60, "left_eye_region": 30, "right_eye_region": 30, "tongue": 4, "pupils": 1}
KEPT_OF_OTHERS = 10
# Metres between the eyes, and the units that files may be in.
EYE_DISTANCES, UNITS = (0.045, 0.085), (1.0, 1e-2, 1e-3)
LOWEST = 0.02  # part of the height that counts as the rim, where the mesh has no border
AGAIN = "take gnm_head.npz as it is published at https://github.com/google/GNM"


@dataclass(frozen=True, slots=True, kw_only=True)
class GnmFile:
    """The arrays of a GNM head, checked; metres, +y up, facing +z. Joints are in the order of `JOINTS`."""

    file_sha256: str
    template: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    shape_dirs: Float[np.ndarray, "V 3 S"]
    expression_dirs: Float[np.ndarray, "V 3 E"]
    expression_names: tuple[str, ...]
    joints: Float[np.ndarray, "4 3"]
    joint_shape_dirs: Float[np.ndarray, "4 3 S"]
    weights: Float[np.ndarray, "V 4"]
    groups: dict[str, Bool[np.ndarray, "V"]]

    def group(self, *words: str) -> Bool[np.ndarray, "V"]:
        """Vertices of all groups whose names hold one of the words."""
        chosen = [mask for name, mask in self.groups.items() if any(word in name for word in words)]
        return np.logical_or.reduce(chosen) if chosen else np.zeros(len(self.template), bool)

    def digest(self) -> str:
        """What identifies the head made of it: the content, and how we prepare it."""
        names = ("template", "faces", "shape_dirs", "expression_dirs", "joints", "joint_shape_dirs", "weights")
        arrays = {name: getattr(self, name) for name in names}
        return hashlib.sha256(f"{content_digest(arrays)} gnm {PREPARED}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class GnmReport:
    """How well the open head could be laid onto it (metres), and what of ARKit's units is lost (0..1 each)."""

    registration: float
    arkit_residual: dict[str, float]


def read_gnm(path: Path) -> GnmFile:
    """Read and check `gnm_head.npz`. Raises `HeadError` for a file that is not one."""
    take = _Taker(path, read_npz(path, error=HeadError, hint=AGAIN, most=LARGEST))
    if str(take.any("variant")) != "head" or not str(take.any("version")).startswith("3."):
        raise HeadError(
            f"{path} is GNM {take.any('variant')} {take.any('version')}, this program reads head 3.x", hint=AGAIN
        )
    names, parents = take.names("joint_names"), tuple(take.any("joint_parent_indices").tolist())
    if names != JOINTS or parents != JOINT_PARENTS:
        raise HeadError(f"{path}: its joints are {names} on {parents}, not {JOINTS} on {JOINT_PARENTS}", hint=AGAIN)
    template = take.floats("template_vertex_positions", (None, 3))
    V = len(template)
    if np.abs(take.floats("pose_correctives_regressor", (9 * len(JOINTS), 3 * V))).max() > 0:
        raise HeadError(
            f"{path} has pose correctives, which version 3.0 has not and this program can't read", hint=AGAIN
        )
    shapes = take.floats("vertex_identity_basis", (None, V, 3))
    expressions, kinds = take.floats("expression_basis", (None, V, 3)), take.names("expression_names")
    if len(kinds) != len(expressions):
        raise HeadError(f"{path} names {len(kinds)} expressions and has {len(expressions)}", hint=AGAIN)
    kept = _kept(kinds)
    joints = take.floats("template_joint_positions", (len(JOINTS), 3))
    joint_shapes = take.floats("joint_identity_basis", (len(shapes), len(JOINTS), 3))
    faces = take.any("triangles").astype(np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= V:
        raise HeadError(f"{path}: triangles of shape {faces.shape} do not name vertices of {V}", hint=AGAIN)
    groups = take.floats("vertex_groups", (None, V))
    axes, origin = _axes(path, joints), joints[2:].mean(0)
    return GnmFile(
        file_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        template=(template - origin) @ axes.T,
        faces=faces,
        shape_dirs=np.ascontiguousarray((shapes @ axes.T).transpose(1, 2, 0)),
        expression_dirs=np.ascontiguousarray((expressions[kept] @ axes.T).transpose(1, 2, 0)),
        expression_names=tuple(kinds[k] for k in kept),
        joints=(joints - origin) @ axes.T,
        joint_shape_dirs=np.ascontiguousarray((joint_shapes @ axes.T).transpose(1, 2, 0)),
        weights=take.floats("skinning_weights", (len(JOINTS), V)).T,
        groups=dict(zip(take.names("vertex_group_names"), groups > 0.5, strict=True)),
    )


@dataclass(frozen=True, slots=True)
class _Taker:
    path: Path
    content: dict[str, Shaped[np.ndarray, "..."]]

    def any(self, name: str) -> Shaped[np.ndarray, "..."]:
        if name not in self.content:
            raise HeadError(f"{self.path} is not a GNM head: {name} is missing", hint=AGAIN)
        return self.content[name]

    def names(self, name: str) -> tuple[str, ...]:
        return tuple(str(value) for value in self.any(name).tolist())

    def floats(self, name: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "..."]:
        array = self.any(name)
        fits = array.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise HeadError(f"{self.path}: {name} is not finite numbers of shape {shape}", hint=AGAIN)
        return array.astype(np.float64)


def _kept(names: tuple[str, ...]) -> list[int]:
    """The first components of each region, in the file's order; a name is its region and a number."""
    counts: dict[str, int] = {}
    kept: list[int] = []
    for k, name in enumerate(names):
        region = name.rsplit("_", 1)[0]
        counts[region] = counts.get(region, 0) + 1
        if counts[region] <= KEPT.get(region, KEPT_OF_OTHERS):
            kept.append(k)
    return kept


def _axes(path: Path, joints: Float[np.ndarray, "4 3"]) -> Float[np.ndarray, "3 3"]:
    """The turn (by right angles) and scale from the file's axes and unit to ours, as its joints show them."""
    neck, _, left, right = joints
    distance = float(np.linalg.norm(left - right))
    unit = next((unit for unit in UNITS if EYE_DISTANCES[0] < distance * unit < EYE_DISTANCES[1]), None)
    across, up = left - right, (left + right) / 2 - neck
    rows = [np.eye(3)[np.abs(a).argmax()] * np.sign(a[np.abs(a).argmax()]) for a in (across, up)]
    if unit is None or abs(rows[0] @ rows[1]) > 0:
        raise HeadError(f"{path}: the eyes are {distance:.3g} apart along {across.round(3).tolist()}", hint=AGAIN)
    return np.stack([*rows, np.cross(rows[0], rows[1])]) * unit


def head_of_gnm(file: GnmFile, name: str) -> tuple[HeadModel, GnmReport]:
    """The head model, in float32. GNM turns no jaw: that joint moves nothing, and expressions open the mouth.

    Landmarks, skin's regions and ARKit's units are carried over from the open head, laid onto GNM's surface; UVs are a
    new atlas, since GNM's parts lie over each other.
    """
    V = len(file.template)
    weights = np.zeros((V, len(Joint)))
    weights[:, list(OURS)] = file.weights
    joints = np.zeros((len(Joint), 3))
    joint_dirs = np.zeros((len(Joint), 3, file.shape_dirs.shape[2]))
    joints[list(OURS)], joint_dirs[list(OURS)] = file.joints, file.joint_shape_dirs
    joints[Joint.JAW], joint_dirs[Joint.JAW] = joints[Joint.NECK], joint_dirs[Joint.NECK]
    inner = file.group("teeth", "tongue", "gum")
    eyes = [mask & ~inner for mask in _eyeballs(file)]
    target = Target(
        vertices=file.template,
        faces=file.faces,
        skin=np.asarray(~(eyes[0] | eyes[1] | inner)[file.faces].any(1)),
        eyes=(np.asarray(eyes[0][file.faces].all(1)), np.asarray(eyes[1][file.faces].all(1))),
        eye_centres=file.joints[2:],
        jaw=_following_teeth(file),
    )
    closed, extras, open_head = _as_it_is(file), FlameExtras(), load_open_head()
    registration = register(open_head, target)
    uv, uv_faces = uv_of_closed_mesh(closed, file.faces, None)
    landmarks = transferred_landmarks(open_head, target, registration, extras)
    regions = transferred_regions(open_head, target, registration, closed, extras)
    regions["teeth"], regions["tongue"] = file.group("teeth"), file.group("tongue")
    regions["inner_mouth"] = regions["inner_mouth"] | inner | file.group("mouth_sock", "mouth_interior")
    for outer in set(regions) - {"teeth", "tongue", "inner_mouth", "skin"}:
        regions[outer] = regions[outer] & ~inner
    nothing = torch.zeros(52, file.expression_dirs.shape[2])
    head = HeadModel(
        name=name,
        sha256=file.digest(),
        template=_float32(file.template),
        faces=torch.from_numpy(file.faces),
        uv=_float32(uv),
        uv_faces=torch.from_numpy(uv_faces),
        shape_dirs=_float32(file.shape_dirs),
        expression_dirs=_float32(file.expression_dirs),
        expression_names=tuple(f"gnm_{kind}" for kind in file.expression_names),
        pose_dirs=torch.zeros(V, 3, POSE_FEATURES),
        joints=_float32(joints),
        joint_shape_dirs=_float32(joint_dirs),
        joint_expression_dirs=torch.zeros(len(Joint), 3, file.expression_dirs.shape[2]),
        weights=_float32(weights),
        parents=PARENTS,
        regions={name: torch.from_numpy(mask) for name, mask in regions.items()},
        landmarks=landmarks,
        landmarks68=transferred_68(landmarks, extras),
        arkit=ArkitMap(expression=nothing, pose=torch.zeros(52, len(Joint), 3)),
    )
    arkit, residual = fit_arkit(open_head, registration, head, target)
    return replace(head, arkit=arkit), GnmReport(registration=registration.median_distance, arkit_residual=residual)


def _eyeballs(file: GnmFile) -> list[Bool[np.ndarray, "V"]]:
    """The left and the right eyeball: connected parts that mostly turn with an eye's joint. Raises `HeadError`."""
    part = parts(file.faces, len(file.template))
    turning = [np.bincount(part, file.weights[:, j]) / np.bincount(part) for j in (2, 3)]
    eyes = [np.asarray(turn[part] > 0.5) for turn in turning]
    if not all(eye.any() for eye in eyes):
        raise HeadError("no separate part of the mesh turns with an eye", hint=AGAIN)
    return eyes


def _following_teeth(file: GnmFile) -> Float[np.ndarray, "V"]:
    """How much each vertex follows the lower teeth (0..1) as expressions move them: by regression over components."""
    teeth = file.group("lower_teeth")
    if not teeth.any():
        raise HeadError("no vertex group is of the lower teeth, which tell the lips apart", hint=AGAIN)
    of_teeth = file.expression_dirs[teeth].mean(0)
    along = np.einsum("vce,ce->v", file.expression_dirs, of_teeth)
    return np.clip(along / max(float((of_teeth**2).sum()), 1e-12), 0, 1)


def _as_it_is(file: GnmFile) -> ClosedMesh:
    """The mesh with nothing closed: GNM has teeth, a tongue and whole eyes behind its borders."""
    loops, height = border_loops(file.faces), file.template[:, 1]
    neck = np.flatnonzero(height < height.min() + LOWEST * np.ptp(height))
    if loops:
        neck = np.unique(min(loops, key=lambda loop: float(height[loop].mean())))
    none = np.zeros(0, np.int64)
    return ClosedMesh(
        vertices=file.template,
        faces=file.faces,
        carry=csr_matrix(identity(len(file.template))),
        mouth=none,
        sockets=none,
        neck=neck,
    )


def _float32(array: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
