"""Loop subdivision as a sparse matrix: a smooth surface that follows a posed control mesh by one product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_matrix


@dataclass(frozen=True, slots=True)
class SmoothMesh:
    """`matrix @ values` carries values of the control mesh's vertices to those of `faces`."""

    matrix: Any  # scipy.sparse.csr_matrix (W, V), rows sum to 1
    faces: Int[np.ndarray, "G 3"]


def loop_subdivision(faces: Int[np.ndarray, "F 3"], n_vertices: int, *, levels: int) -> SmoothMesh:
    """Subdivide `levels` times (Loop's scheme with Warren's weights; open edges follow cubic B-splines)."""
    matrix, faces = subdivided_once(faces, n_vertices)
    for _ in range(levels - 1):
        finer, faces = subdivided_once(faces, matrix.shape[0])
        matrix = finer @ matrix
    return SmoothMesh(matrix.tocsr(), faces)


def subdivided_once(faces: Int[np.ndarray, "F 3"], n: int) -> tuple[Any, Int[np.ndarray, "G 3"]]:
    """One level: its matrix (old vertices first, then middles of edges in ascending order) and faces, four for one."""
    half_edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    edges, edge_of, uses = np.unique(np.sort(half_edges, 1), axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.ravel()
    border = edges[uses == 1]
    on_border = np.zeros(n, bool)
    on_border[border] = True

    # Middles of edges: 3/8 of both ends and 1/8 of both opposite corners, or just between the ends on a border.
    middle = n + np.arange(len(edges))
    end_weight = np.where(uses == 1, 0.5, 0.375)
    inner = uses[edge_of] == 2
    entries = [(middle, edges[:, 0], end_weight), (middle, edges[:, 1], end_weight)]
    entries.append((middle[edge_of[inner]], opposite[inner], np.full(int(inner.sum()), 0.125)))

    # Old vertices: a share of each neighbour; on a border only of the neighbours along it.
    both = np.concatenate([edges, edges[:, ::-1]])
    valence = np.bincount(both[:, 0], minlength=n)
    share = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    free = both[~on_border[both[:, 0]]]
    entries.append((free[:, 0], free[:, 1], share[free[:, 0]]))
    along = np.concatenate([border, border[:, ::-1]])
    entries.append((along[:, 0], along[:, 1], np.full(len(along), 0.125)))
    rows, columns, weights = (np.concatenate([entry[i] for entry in entries]) for i in range(3))
    given = np.bincount(rows, weights, minlength=n + len(edges))[:n]
    rows, columns = np.concatenate([rows, np.arange(n)]), np.concatenate([columns, np.arange(n)])
    matrix = coo_matrix((np.concatenate([weights, 1 - given]), (rows, columns)), (n + len(edges), n)).tocsr()

    ab, bc, ca = (n + edge_of.reshape(3, -1)).astype(faces.dtype)
    a, b, c = faces.T
    children = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).reshape(-1, 3)
    return matrix, children
