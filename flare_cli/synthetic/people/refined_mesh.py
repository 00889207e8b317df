"""Loop subdivision of chosen parts of a mesh: fine where people look, coarse elsewhere, without gaps between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix, identity, vstack

from flare_cli.synthetic.loop_subdivision import SmoothMesh, subdivided_once


def refined(faces: Int[np.ndarray, "F 3"], n_vertices: int, levels: Sequence[Float[np.ndarray, "V"]]) -> SmoothMesh:
    """Subdivide once for each of `levels`, the faces whose corners all have a value above one half there.

    At the border of the chosen part a face is cut into two or three, so that no vertex lies on an edge; what borders on
    a face that is not chosen stays where it is.
    """
    matrix: Any = identity(n_vertices, format="csr")
    for chosen in levels:
        finer, faces = _refined_once(faces, matrix.shape[0], ((matrix @ chosen) > 0.5)[faces].all(1))
        matrix = finer @ matrix
    return SmoothMesh(csr_matrix(matrix), faces)


def _refined_once(
    faces: Int[np.ndarray, "F 3"], n: int, chosen: Bool[np.ndarray, "F"]
) -> tuple[Any, Int[np.ndarray, "G 3"]]:
    smooth, children = subdivided_once(faces, n)
    middles = _middles(children, len(faces), n)
    count = smooth.shape[0] - n
    split = np.zeros(count, bool)
    split[middles[chosen]] = True
    rough = np.ones(count, bool)  # middles all of whose faces are chosen follow Loop's rule
    rough[middles[chosen]] = False
    rough[middles[~chosen]] = True
    still = np.zeros(n, bool)
    still[faces[~chosen]] = True
    ends = np.zeros((count, 2), int)
    for k in range(3):
        ends[middles[:, k]] = faces[:, [k, (k + 1) % 3]]
    halves = csr_matrix((np.full(2 * count, 0.5), (np.repeat(np.arange(count), 2), ends.ravel())), (count, n))
    old = _rows(still, identity(n, format="csr"), smooth[:n])
    new = _rows(rough, halves, smooth[n:])[split]
    number = n + np.cumsum(split) - 1
    return csr_matrix(vstack([old, new])), _cut(faces, np.where(split[middles], number[middles], -1))


def _middles(children: Int[np.ndarray, "G 3"], n_faces: int, n: int) -> Int[np.ndarray, "F 3"]:
    """The middle of each face's edges ab, bc, ca, counted from 0: the corners of its last child."""
    return children.reshape(n_faces, 4, 3)[:, 3] - n


def _rows(first: Bool[np.ndarray, "N"], a: Any, b: Any) -> Any:
    """Rows of `a` where `first`, of `b` elsewhere."""
    pick = csr_matrix((first.astype(float), (np.arange(len(first)), np.arange(len(first)))))
    rest = csr_matrix(((~first).astype(float), (np.arange(len(first)), np.arange(len(first)))))
    return csr_matrix(pick @ a + rest @ b)


def _cut(faces: Int[np.ndarray, "F 3"], middle: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "G 3"]:
    """Faces cut at the middles (of ab, bc, ca) that are not -1."""
    split = middle >= 0
    parts = [faces[split.sum(1) == 0]]
    whole = split.all(1)
    (a, b, c), (ab, bc, ca) = faces[whole].T, middle[whole].T
    parts.append(np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).reshape(-1, 3))
    for turn in range(3):
        f, m, s = (np.roll(values, -turn, 1) for values in (faces, middle, split))
        one = s[:, 0] & ~s[:, 1] & ~s[:, 2]
        (a, b, c), ab = f[one].T, m[one, 0]
        parts.append(np.stack([a, ab, c, ab, b, c], 1).reshape(-1, 3))
        two = s[:, 0] & s[:, 1] & ~s[:, 2]
        (a, b, c), (ab, bc) = f[two].T, m[two, :2].T
        parts.append(np.stack([ab, b, bc, a, ab, bc, a, bc, c], 1).reshape(-1, 3))
    return np.concatenate(parts)
