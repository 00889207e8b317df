"""A head in FLAME's format: 5,023 vertices, 300 + 100 components, five joints, pickled as its makers do.

It is the open head's outer skin and eyeballs of another person, cut into 5,023 vertices, open at the neck, the mouth
and the eyes; its directions are smooth but random. `build_flame_like` says where each vertex comes from, so tests know
the true correspondence. Nothing of the licensed model is in it.
"""

import functools
import io
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from scipy.optimize import nnls

from flare_cli.head.model import HeadModel
from flare_cli.head.open_head import load_open_head

VERTICES, SHAPES, EXPRESSIONS = 5023, 300, 100
PARENTS = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32)
SCALE, SHIFT = 1.04, np.array([0.001, -0.012, -0.045])


@dataclass(frozen=True)
class FlameLike:
    """The arrays of a FLAME file, and for every vertex the open head's vertices and weights that made it."""

    arrays: dict[str, np.ndarray | scipy.sparse.csc_matrix]
    source: scipy.sparse.csr_matrix  # (5023, V of the open head)


@functools.cache
def build_flame_like(seed: int = 0) -> FlameLike:
    rng = np.random.default_rng(seed)
    head = load_open_head()
    faces, source = _surface(head)
    person = 0.7 * rng.normal(size=head.n_shape) * (np.arange(head.n_shape) < 20)

    def blend(values):
        return _carried(source, values)

    template = (blend(head.template.numpy()) + blend(head.shape_dirs.numpy()) @ person) * SCALE + SHIFT
    joints = (head.joints.numpy() + head.joint_shape_dirs.numpy() @ person) * SCALE + SHIFT
    weights = blend(head.weights.numpy())
    shape = np.concatenate([_mixed(blend(head.shape_dirs.numpy()), 100, rng), _waves(template, 200, rng)], 2)
    expression = np.concatenate([_mixed(blend(head.expression_dirs.numpy()), 70, rng), _waves(template, 30, rng)], 2)
    regressor = _regressor(template, weights, joints)
    arrays = {
        "v_template": template,
        "f": faces.astype(np.uint32),
        "shapedirs": np.concatenate([shape * 0.5, expression * 0.5], 2) * SCALE,
        "posedirs": 0.2 * _waves(template, 36, rng) + blend(head.pose_dirs.numpy()),
        "J_regressor": regressor,
        "J": regressor @ template,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": PARENTS,
    }
    return FlameLike(arrays, source)


def write_flame_like(path: Path, edition: str = "2020", seed: int = 0, **changed) -> Path:
    """Write it as edition "2020" (Python 2, chumpy, scipy.sparse) or "2023" (numpy). `changed` replaces arrays."""
    arrays = build_flame_like(seed).arrays | changed
    arrays = {name: value for name, value in arrays.items() if value is not None}
    path.write_bytes(_python2(arrays) if edition == "2020" else pickle.dumps(arrays, 4))
    return path


def write_landmarks(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Embeddings like those that ship with FLAME, true to where the open head's points lie."""
    head, faces = load_open_head(), build_flame_like(seed).arrays["f"].astype(np.int64)
    index = np.array(sorted({*range(0, 468, 5), 13, 14, 17, 33, 61, 133, 263, 291, 362, 4, 386}))
    assert len(index) == 105
    points = true_landmarks(head, seed)[index]
    face, barycentric = _nearest(points, build_flame_like(seed).arrays["v_template"], faces)
    mediapipe = folder / "mediapipe_landmark_embedding.npz"
    np.savez(mediapipe, lmk_face_idx=face.astype(np.int32), lmk_b_coords=barycentric, landmark_indices=index)
    from flare_cli.head.landmarks68 import MEDIAPIPE_OF_68

    face, barycentric = _nearest(
        true_landmarks(head, seed)[list(MEDIAPIPE_OF_68)], build_flame_like(seed).arrays["v_template"], faces
    )
    static = folder / "landmark_embedding.npy"
    np.save(
        static,
        {
            "static_lmk_faces_idx": face[17:],
            "static_lmk_bary_coords": barycentric[17:],
            "dynamic_lmk_faces_idx": np.tile(face[:17], (79, 1)),
            "dynamic_lmk_bary_coords": np.tile(barycentric[:17], (79, 1, 1)),
            "full_lmk_faces_idx": face[None],
            "full_lmk_bary_coords": barycentric[None],
        },
        allow_pickle=True,
    )
    return {"mediapipe": mediapipe, "landmarks": static}


def true_landmarks(head: HeadModel, seed: int = 0) -> np.ndarray:
    """Where MediaPipe's 478 points lie on the FLAME-like template."""
    rng = np.random.default_rng(seed)
    person = 0.7 * rng.normal(size=head.n_shape) * (np.arange(head.n_shape) < 20)
    vertices = (head.template.numpy() + head.shape_dirs.numpy() @ person) * SCALE + SHIFT
    corners = vertices[head.faces.numpy()[head.landmarks.face.numpy()]]
    return np.einsum("nk,nkc->nc", head.landmarks.barycentric.numpy(), corners)


def _surface(head: HeadModel) -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Triangles of the visible skin and the eyeballs, the longest edges split until there are 5,023 vertices."""
    region = {name: mask.numpy() for name, mask in head.regions.items()}
    outer = region["skin"] & ~region["inner_mouth"] & ~region["eye_sockets"]
    # A lid is visible up to its edge; what FLAME has of lips and sockets ends a little inside.
    all_faces = head.faces.numpy()
    kept = all_faces[(outer | region["eyes"])[all_faces].all(1)]
    used = np.unique(kept)
    faces = np.searchsorted(used, kept)
    source = scipy.sparse.identity(len(head.template), format="csr")[used]
    while source.shape[0] < VERTICES:
        faces, source = _split_longest(faces, source, head.template.numpy().astype(float), VERTICES - source.shape[0])
    assert source.shape[0] == VERTICES
    return faces, source


def _split_longest(faces, source, template, most):
    """Split the longest inner edges, no two in one triangle."""
    place = source @ template
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], 2), 2).reshape(-1, 2)
    unique, inverse, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    owners = [[] for _ in unique]
    for k, edge in enumerate(inverse.ravel()):
        owners[edge].append(k // 3)
    length = np.linalg.norm(place[unique[:, 0]] - place[unique[:, 1]], axis=1)
    touched, chosen = set(), []
    for edge in np.argsort(-length, kind="stable"):
        if count[edge] == 2 and not touched.intersection(owners[edge]):
            touched.update(owners[edge])
            chosen.append(edge)
        if len(chosen) == min(most, 300):
            break
    new, removed = [], set()
    for k, edge in enumerate(chosen):
        a, b = unique[edge]
        middle = source.shape[0] + k
        for face in owners[edge]:
            removed.add(face)
            corners = faces[face]
            new.append(np.where(corners == b, middle, corners))
            new.append(np.where(corners == a, middle, corners))
    rows = 0.5 * (source[unique[chosen][:, 0]] + source[unique[chosen][:, 1]])
    faces = np.concatenate([np.delete(faces, sorted(removed), 0), np.array(new)])
    return faces, scipy.sparse.vstack([source, rows]).tocsr()


def _carried(source, values):
    return (source @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])


def _mixed(dirs, count, rng):
    return dirs @ (rng.normal(size=(dirs.shape[2], count)) / np.sqrt(dirs.shape[2]))


def _waves(template, count, rng):
    """Smooth random displacements of a millimetre or two."""
    k = rng.normal(size=(count, 3, 3)) * 25
    phase = rng.uniform(0, 2 * np.pi, (count, 3))
    return 0.0015 * np.sin(np.einsum("vc,ndc->vdn", template, k) + phase.T)


def _regressor(template, weights, joints):
    """Each joint as a convex blend of vertices; the eyes' are the middles of their balls."""
    rows = np.zeros((5, len(template)))
    for j, joint in enumerate(joints):
        if j >= 3:
            ball = weights[:, j] > 0.99
            rows[j, ball] = 1 / ball.sum()
        else:
            some = np.arange(0, len(template), 7)
            rows[j, some] = nnls(np.vstack([template[some].T, np.ones(len(some))]), np.append(joint, 1))[0]
    return scipy.sparse.csc_matrix(rows)


def _nearest(points, vertices, faces):
    from flare_cli.head.flame.surface import closest_points

    found = closest_points(points, vertices, faces)
    return found.face, found.barycentric


def _python2(arrays) -> bytes:
    """Pickle a dict as Python 2's cPickle does with protocol 2: byte strings, chumpy arrays, old module names."""
    out = io.BytesIO()
    out.write(b"\x80\x02}(")
    for name, value in arrays.items():
        _write_string(out, name.encode())
        if scipy.sparse.issparse(value):
            out.write(b"cscipy.sparse.csc\ncsc_matrix\n)\x81}(")
            for part in ("data", "indices", "indptr"):
                _write_string(out, part.encode())
                _write_array(out, getattr(value, part))
            _write_string(out, b"_shape")
            out.write(b"J%bJ%b\x86" % tuple(struct.pack("<i", n) for n in value.shape))
            _write_string(out, b"maxprint")
            out.write(b"K2ub")
        elif name in ("shapedirs", "v_template"):
            out.write(b"cchumpy.ch\nCh\n)\x81}(")
            _write_string(out, b"x")
            _write_array(out, value)
            _write_string(out, b"_dirty_vars")
            out.write(b"c__builtin__\nset\n](U\x01xe\x85R")
            _write_string(out, b"_itr")
            out.write(b"Nub")
        else:
            _write_array(out, np.asarray(value))
    _write_string(out, b"bs_type")
    _write_string(out, b"lrotmin")
    out.write(b"u.")
    return out.getvalue()


def _write_string(out, data: bytes):
    out.write(b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data)


def _write_array(out, array):
    out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01(")
    for n in array.shape:
        out.write(b"J" + struct.pack("<i", n))
    out.write(b"tcnumpy\ndtype\n")
    _write_string(out, array.dtype.str[1:].encode())
    out.write(b"K\0K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89")
    _write_string(out, np.ascontiguousarray(array).tobytes())
    out.write(b"tb")
