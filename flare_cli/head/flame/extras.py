"""The files that ship beside FLAME: landmark embeddings, vertex masks and texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xatlas
from jaxtyping import Float, Int

from flare_cli.data.array_file import read_npz
from flare_cli.data.checked import LARGEST
from flare_cli.data.meshes.obj import read_obj_uv
from flare_cli.data.pickle.machine import load_object_array, load_pickle
from flare_cli.errors import HeadError
from flare_cli.head.flame.holes import ClosedMesh

HINT = "take the file as it is published beside FLAME (flame.is.tue.mpg.de)"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPoints:
    """Facial points whose place on FLAME is known: which (`index`), the face, and barycentric coordinates."""

    index: Int[np.ndarray, "N"]
    face: Int[np.ndarray, "N"]
    barycentric: Float[np.ndarray, "N 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UvMap:
    """Texture coordinates, v up; `uv_faces` follows `faces`, or FLAME's own order where that is None."""

    coordinates: Float[np.ndarray, "T 2"]
    uv_faces: Int[np.ndarray, "F 3"]
    faces: Int[np.ndarray, "F 3"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlameExtras:
    """What the user gave beside the model. None is found by other means."""

    mediapipe: KnownPoints | None = None
    landmarks68: KnownPoints | None = None
    masks: dict[str, Int[np.ndarray, "N"]] | None = None
    uv: UvMap | None = None


def read_extras(
    *,
    landmarks: Path | None,
    mediapipe: Path | None,
    masks: Path | None,
    uv: Path | None,
    n_faces: int,
    n_vertices: int,
) -> FlameExtras:
    """Read and check what was given. Raises `HeadError` for what does not belong to this FLAME."""
    return FlameExtras(
        mediapipe=None if mediapipe is None else _mediapipe(mediapipe, n_faces),
        landmarks68=None if landmarks is None else _landmarks68(landmarks, n_faces),
        masks=None if masks is None else _masks(masks, n_vertices),
        uv=None if uv is None else _uv(uv, n_faces),
    )


def _mediapipe(path: Path, n_faces: int) -> KnownPoints:
    content = _contents(path)
    index = _part(path, content, "landmark_indices").ravel().astype(np.int64)
    if len(index) == 0 or index.min() < 0 or index.max() >= 478:
        raise HeadError(f"{path}: landmark_indices are not numbers of MediaPipe's 478 points", hint=HINT)
    face, barycentric = _part(path, content, "lmk_face_idx"), _part(path, content, "lmk_b_coords")
    return _checked(path, index, face, barycentric, n_faces)


def _landmarks68(path: Path, n_faces: int) -> KnownPoints:
    content = _contents(path)
    if "full_lmk_faces_idx" in content:
        face, barycentric = (_part(path, content, f"full_lmk_{n}") for n in ("faces_idx", "bary_coords"))
        return _checked(path, np.arange(68), face, barycentric, n_faces)
    if "lmk_face_idx" in content:
        face, barycentric = _part(path, content, "lmk_face_idx"), _part(path, content, "lmk_b_coords")
        return _checked(path, np.arange(17, 68), face, barycentric, n_faces)
    still = [_part(path, content, f"static_lmk_{n}").ravel() for n in ("faces_idx", "bary_coords")]
    # The jaw's points depend on the view; the first is the view from the front.
    turning = [_part(path, content, f"dynamic_lmk_{n}").ravel() for n in ("faces_idx", "bary_coords")]
    face, barycentric = (np.concatenate([t[: 17 * n], s]) for t, s, n in zip(turning, still, (1, 3), strict=True))
    return _checked(path, np.arange(68), face, barycentric, n_faces)


def _checked(path: Path, index: np.ndarray, face: np.ndarray, barycentric: np.ndarray, n_faces: int) -> KnownPoints:
    if face.size != len(index) or barycentric.size != 3 * len(index):
        raise HeadError(f"{path} holds {face.size} faces for {len(index)} points", hint=HINT)
    face, barycentric = face.ravel().astype(np.int64), barycentric.reshape(-1, 3).astype(np.float64)
    if face.min() < 0 or face.max() >= n_faces:
        raise HeadError(f"{path} names face {face.max()}, the model has {n_faces}", hint=HINT)
    if not np.isfinite(barycentric).all() or np.abs(barycentric.sum(1) - 1).max() > 1e-2:
        raise HeadError(f"{path}: barycentric coordinates do not add up to 1", hint=HINT)
    return KnownPoints(index=index, face=face, barycentric=barycentric / barycentric.sum(1, keepdims=True))


def _masks(path: Path, n_vertices: int) -> dict[str, np.ndarray]:
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise HeadError(f"{path} holds no dict of vertex numbers", hint=HINT)
    masks = {str(name): np.asarray(value) for name, value in content.items()}
    for name, value in masks.items():
        if (
            value.ndim != 1
            or value.dtype.kind not in "iu"
            or (len(value) and not 0 <= value.min() <= value.max() < n_vertices)
        ):
            raise HeadError(f"{path}: the mask {name!r} is not a list of vertex numbers", hint=HINT)
    return masks


def _uv(path: Path, n_faces: int) -> UvMap:
    if path.suffix.lower() == ".obj":
        faces, coordinates, uv_faces = read_obj_uv(path)
        uv = UvMap(coordinates=coordinates, uv_faces=uv_faces, faces=faces)
    else:
        content = _contents(path)
        coordinates, uv_faces = _part(path, content, "vt"), _part(path, content, "ft")
        uv = UvMap(coordinates=coordinates.astype(np.float64), uv_faces=uv_faces.astype(np.int64), faces=None)
    if uv.uv_faces.shape != (n_faces, 3) or uv.coordinates.ndim != 2 or uv.coordinates.shape[1] != 2:
        raise HeadError(f"{path} has texture coordinates for {len(uv.uv_faces)} triangles, not {n_faces}", hint=HINT)
    if uv.uv_faces.min() < 0 or uv.uv_faces.max() >= len(uv.coordinates):
        raise HeadError(f"{path} names a texture coordinate that it does not have", hint=HINT)
    return uv


def _contents(path: Path) -> dict[str, Any]:
    """The named arrays of an .npz, an .npy with a dict, or a pickle."""
    if path.suffix.lower() == ".npz":
        return read_npz(path, error=HeadError, hint=HINT)
    content = load_object_array(path) if path.suffix.lower() == ".npy" else load_pickle(path)
    if not isinstance(content, dict):
        raise HeadError(f"{path} holds no named arrays", hint=HINT)
    return content


def _part(path: Path, content: dict[str, Any], name: str) -> np.ndarray:
    if name not in content:
        raise HeadError(f"{path} lacks {name!r}; it has {', '.join(sorted(map(str, content)))[:200]}", hint=HINT)
    array = np.asarray(content[name])
    if array.dtype.kind not in "iuf" or array.size == 0 or not np.abs(array).max() <= LARGEST:  # NaN is not
        raise HeadError(f"{path}: {name} is not an array of finite numbers", hint=HINT)
    return array


def uv_of_closed_mesh(
    closed: ClosedMesh, faces: Int[np.ndarray, "F 3"], uv: UvMap | None
) -> tuple[Float[np.ndarray, "T 2"], Int[np.ndarray, "G 3"]]:
    """Texture coordinates of every face: the user's, or a new atlas. In the user's, pockets take their border's."""
    if uv is None:
        source, uv_faces, coordinates = xatlas.parametrize(
            closed.vertices.astype(np.float32), closed.faces.astype(np.uint32)
        )
        assert (source[uv_faces] == closed.faces).all()
        return coordinates.astype(np.float64), uv_faces.astype(np.int64)
    uv_of_skin = uv.uv_faces if uv.faces is None else _in_order(uv.faces, uv.uv_faces, faces)
    of_vertex = np.zeros(len(closed.vertices), np.int64)
    of_vertex[faces.ravel()] = uv_of_skin.ravel()
    border = np.asarray(closed.carry.argmax(1)).ravel()
    return uv.coordinates, np.concatenate([uv_of_skin, of_vertex[border[closed.faces[len(faces) :]]]])


def _in_order(
    given: Int[np.ndarray, "F 3"], uv_faces: Int[np.ndarray, "F 3"], faces: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "F 3"]:
    """`uv_faces` rearranged from the order of `given` to that of `faces`, corners included."""
    row_of = {tuple(face): k for k, face in enumerate(_lowest_first(given, given).tolist())}
    order = [row_of.get(tuple(face), -1) for face in _lowest_first(faces, faces).tolist()]
    if min(order) < 0:
        raise HeadError("the texture coordinates belong to another topology than the model", hint=HINT)
    turned = _lowest_first(given, uv_faces)[order]
    back = (np.arange(3) - faces.argmin(1)[:, None]) % 3
    return np.take_along_axis(turned, back, 1)


def _lowest_first(faces: Int[np.ndarray, "F 3"], corners: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """What `corners` says of each face's corners, turned so that it begins at the vertex of the lowest number."""
    return np.take_along_axis(corners, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1)
