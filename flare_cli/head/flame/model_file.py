"""Reading FLAME's files as their makers publish them, and making a head model of them.

Nothing of FLAME comes with this program: people download it from https://flame.is.tue.mpg.de under its licence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.data.pickle.machine import load_pickle, read_bounded
from flare_cli.errors import HeadError
from flare_cli.head.flame.arkit_fit import fit_arkit
from flare_cli.head.flame.extras import FlameExtras, uv_of_closed_mesh
from flare_cli.head.flame.holes import ClosedMesh, Eyeball, close_holes
from flare_cli.head.flame.landmark_transfer import (
    known_anchors,
    transferred_68,
    transferred_landmarks,
    transferred_regions,
)
from flare_cli.head.flame.registration import Target, register
from flare_cli.head.flame.surface import parts
from flare_cli.head.joints import PARENTS, Joint
from flare_cli.head.model import ArkitMap, HeadModel
from flare_cli.head.open_head import content_digest, load_open_head

VERTICES, SHAPES, EXPRESSIONS, POSE_FEATURES = 5023, 300, 100, 36
# Raise when closing holes or naming regions changes: avatars know their head by a digest that holds this number.
PREPARED = 1
SMALLEST, LARGEST = 0.15, 0.8  # metres from chin or chest to crown

Edition = Literal["2020", "2023", "2023-no-jaw", "2023-open"]
EDITIONS: tuple[Edition, ...] = ("2020", "2023", "2023-no-jaw", "2023-open")
EDITION_OF_STEM: dict[str, Edition] = {
    "generic_model": "2020",
    "flame2020": "2020",
    "flame2023": "2023",
    "flame2023_no_jaw": "2023-no-jaw",
    "flame2023_open": "2023-open",
}
NON_COMMERCIAL = "FLAME's own licence: supplied by the user, non-commercial use only (flame.is.tue.mpg.de)"
OPEN = "CC-BY-4.0 (FLAME 2023 Open, flame.is.tue.mpg.de)"
DAMAGED = "take the file as it is in the archive from flame.is.tue.mpg.de"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlameFile:
    """The arrays of one FLAME file, checked, in float64, and where they come from."""

    edition: Edition
    file_sha256: str
    template: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    shape_dirs: Float[np.ndarray, "V 3 S"]
    expression_dirs: Float[np.ndarray, "V 3 E"]
    pose_dirs: Float[np.ndarray, "V 3 P"]
    regressor: Float[np.ndarray, "J V"]
    weights: Float[np.ndarray, "V J"]

    @property
    def licence(self) -> str:
        """Under which terms the user has the file."""
        return OPEN if self.edition == "2023-open" else NON_COMMERCIAL

    def digest(self, extras: FlameExtras) -> str:
        """What identifies the head made of it: the content however it was pickled, and how we prepare it."""
        arrays = {name: getattr(self, name) for name in ("template", "shape_dirs", "expression_dirs", "pose_dirs")}
        arrays |= {"regressor": self.regressor, "weights": self.weights, "faces": self.faces.astype("<i8")}
        if extras.uv is not None:
            arrays |= {"uv": extras.uv.coordinates, "uv_faces": extras.uv.uv_faces.astype("<i8")}
        return hashlib.sha256(f"{content_digest(arrays)} {PREPARED}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlameReport:
    """How well what FLAME's file lacks could be found: distances in metres, ARKit's residual per unit in 0..1."""

    registration: float
    landmarks_given: int
    landmarks68_given: bool
    uv_given: bool
    arkit_residual: dict[str, float]


def read_flame(path: Path, edition: Edition | None = None) -> FlameFile:
    """Read and check `generic_model.pkl`, `flame2023.pkl` and their like. `edition` None goes by the file's name.

    Raises `PickleError` for a file with anything but data in it and `HeadError` for one that is not FLAME.
    """
    edition = edition or EDITION_OF_STEM.get(path.stem.lower())
    if edition is None:
        raise HeadError(
            f"the name of {path} does not say which edition of FLAME it is",
            hint=f"say it with --edition: {', '.join(EDITIONS)}",
        )
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise HeadError(f"{path} holds a {type(content).__name__}, not FLAME's dict of arrays", hint=DAMAGED)
    take = _Taker(path, content)
    dirs = take.floats("shapedirs", (VERTICES, 3, SHAPES + EXPRESSIONS))
    _check_tree(path, take.integers("kintree_table", (2, len(Joint))))
    file = FlameFile(
        edition=edition,
        file_sha256=hashlib.sha256(read_bounded(path)).hexdigest(),
        template=take.floats("v_template", (VERTICES, 3)),
        faces=take.integers("f", (None, 3)),
        shape_dirs=np.ascontiguousarray(dirs[..., :SHAPES]),
        expression_dirs=np.ascontiguousarray(dirs[..., SHAPES:]),
        pose_dirs=take.floats("posedirs", (VERTICES, 3, POSE_FEATURES)),
        regressor=take.floats("J_regressor", (len(Joint), VERTICES)),
        weights=take.floats("weights", (VERTICES, len(Joint))),
    )
    _check_geometry(path, file)
    return file


@dataclass(frozen=True, slots=True)
class _Taker:
    path: Path
    content: dict[Any, Any]

    def floats(self, name: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "..."]:
        array = self._array(name, shape)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise HeadError(f"{self.path}: {name} holds values that are not finite numbers", hint=DAMAGED)
        return np.ascontiguousarray(array, dtype="<f8")

    def integers(self, name: str, shape: tuple[int | None, ...]) -> Int[np.ndarray, "..."]:
        array = self._array(name, shape)
        if array.dtype.kind not in "iu" and not (array == np.floor(array)).all():
            raise HeadError(f"{self.path}: {name} holds values that are not whole numbers", hint=DAMAGED)
        return array.astype(np.int64)

    def _array(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        if name not in self.content:
            raise HeadError(f"{self.path} is not FLAME: it lacks {name!r}", hint=DAMAGED)
        value = self.content[name]
        array = value.toarray() if scipy.sparse.issparse(value) else value
        wanted = "x".join("N" if n is None else str(n) for n in shape)
        given = "x".join(map(str, np.shape(array))) if isinstance(array, np.ndarray) else type(array).__name__
        fits = isinstance(array, np.ndarray) and array.ndim == len(shape)
        if not fits or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
            raise HeadError(f"{self.path} is not FLAME: {name} is {given}, not {wanted}", hint=DAMAGED)
        return array


def _check_tree(path: Path, table: Int[np.ndarray, "2 J"]) -> None:
    # The root's parent is written as -1, which is 4294967295 without a sign.
    if tuple(table[0, 1:].tolist()) != PARENTS[1:] or table[1].tolist() != list(range(len(Joint))):
        raise HeadError(
            f"{path} is not FLAME: its joints hang together as {table.tolist()}",
            hint="FLAME has a root, a neck on it, and a jaw and two eyes on the neck",
        )


def _check_geometry(path: Path, file: FlameFile) -> None:
    f = file.faces
    if f.min() < 0 or f.max() >= VERTICES:
        raise HeadError(f"{path}: a triangle names vertex {f.max()} of {VERTICES}", hint=DAMAGED)
    if ((f[:, 0] == f[:, 1]) | (f[:, 1] == f[:, 2]) | (f[:, 2] == f[:, 0])).any():
        raise HeadError(f"{path}: a triangle has the same corner twice", hint=DAMAGED)
    height = float(np.ptp(file.template[:, 1]))
    if not SMALLEST < height < LARGEST:
        raise HeadError(f"{path}: the head is {height:.3g} m tall", hint="FLAME's files are in metres")
    if file.weights.min() < -1e-3 or np.abs(file.weights.sum(1) - 1).max() > 1e-3:
        raise HeadError(f"{path}: the skinning weights do not add up to 1", hint=DAMAGED)
    for eyeball in _eyeball_masks(file):
        if not eyeball.any():
            raise HeadError(f"{path}: no separate part of the mesh turns with an eye", hint=DAMAGED)


def head_of_flame(file: FlameFile, name: str, extras: FlameExtras) -> tuple[HeadModel, FlameReport]:
    """The head model: closed for fitting, with landmarks, regions and ARKit's units, in float32.

    What `extras` do not bring is carried over from the open head, laid onto FLAME's surface.
    """
    joints = file.regressor @ file.template
    closed = close_holes(file.template, file.faces, _eyeballs(file, joints))
    weights = _carried(closed, file.weights)
    added = np.zeros(len(closed.vertices) - VERTICES, bool)
    whole = [np.concatenate([mask, added]) for mask in _eyeball_masks(file)]
    eyes = [np.asarray(mask[closed.faces].all(1)) for mask in whole]
    pockets = np.zeros(len(closed.vertices), bool)
    pockets[closed.mouth] = pockets[closed.sockets] = True
    target = Target(
        vertices=closed.vertices,
        faces=closed.faces,
        skin=~(eyes[0] | eyes[1]) & ~pockets[closed.faces].any(1),
        eyes=(eyes[0], eyes[1]),
        eye_centres=joints[[Joint.EYE_LEFT, Joint.EYE_RIGHT]],
        jaw=weights[:, Joint.JAW],
    )
    open_head = load_open_head()
    registration = register(open_head, target, known_anchors(open_head, target, extras))
    uv, uv_faces = uv_of_closed_mesh(closed, file.faces, extras.uv)
    landmarks = transferred_landmarks(open_head, target, registration, extras)
    nothing = ArkitMap(expression=torch.zeros(52, EXPRESSIONS), pose=torch.zeros(52, len(Joint), 3))
    head = HeadModel(
        name=name,
        sha256=file.digest(extras),
        template=_float32(closed.vertices),
        faces=torch.from_numpy(closed.faces),
        uv=_float32(uv),
        uv_faces=torch.from_numpy(uv_faces),
        shape_dirs=_float32(_carried(closed, file.shape_dirs)),
        expression_dirs=_float32(_carried(closed, file.expression_dirs)),
        expression_names=tuple(f"flame{k:03d}" for k in range(EXPRESSIONS)),
        pose_dirs=_float32(_carried(closed, file.pose_dirs)),
        joints=_float32(joints),
        joint_shape_dirs=_float32(_joint_dirs(file, file.shape_dirs)),
        joint_expression_dirs=_float32(_joint_dirs(file, file.expression_dirs)),
        weights=_float32(weights),
        parents=PARENTS,
        regions=_tensors(transferred_regions(open_head, target, registration, closed, extras)),
        landmarks=landmarks,
        landmarks68=transferred_68(landmarks, extras),
        arkit=nothing,
    )
    arkit, residual = fit_arkit(open_head, registration, head, target)
    report = FlameReport(
        registration=registration.median_distance,
        landmarks_given=0 if extras.mediapipe is None else len(extras.mediapipe.index),
        landmarks68_given=extras.landmarks68 is not None,
        uv_given=extras.uv is not None,
        arkit_residual=residual,
    )
    return replace(head, arkit=arkit), report


def _eyeball_masks(file: FlameFile) -> list[Bool[np.ndarray, "V"]]:
    """The left and the right eyeball: connected parts that mostly turn with an eye's joint."""
    part = parts(file.faces, VERTICES)
    turning = [np.bincount(part, file.weights[:, j]) / np.bincount(part) for j in (Joint.EYE_LEFT, Joint.EYE_RIGHT)]
    return [np.asarray(turn[part] > 0.5) for turn in turning]


def _eyeballs(file: FlameFile, joints: Float[np.ndarray, "J 3"]) -> list[Eyeball]:
    balls: list[Eyeball] = []
    for joint, mask in zip((Joint.EYE_LEFT, Joint.EYE_RIGHT), _eyeball_masks(file), strict=True):
        radius = float(np.linalg.norm(file.template[mask] - joints[joint], axis=1).max())
        balls.append(Eyeball(centre=joints[joint], radius=radius))
    return balls


def _carried(closed: ClosedMesh, values: Float[np.ndarray, "V ..."]) -> Float[np.ndarray, "W ..."]:
    flat = closed.carry @ values.reshape(len(values), -1)
    return np.asarray(flat).reshape(-1, *values.shape[1:])


def _joint_dirs(file: FlameFile, dirs: Float[np.ndarray, "V 3 K"]) -> Float[np.ndarray, "J 3 K"]:
    """How far directions of the vertices move the joints."""
    return np.einsum("jv,vcs->jcs", file.regressor, dirs)


def _float32(array: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _tensors(masks: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}
