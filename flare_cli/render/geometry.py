"""Meshes as plain tensors: normals, edges, neighbours, the uniform Laplacian and midpoint subdivision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def vertex_normals(vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit normals, each the area-weighted mean over the faces around a vertex; zero where there are none."""
    area_vectors = _doubled_area_vectors(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, faces[:, corner].long(), area_vectors)
    # The default floor of 1e-12 would dim normals of small triangles in metres.
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def face_normals(vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B F 3"]:
    """Unit normals of faces, out of the side from which they run counter-clockwise; zero where degenerate."""
    return torch.nn.functional.normalize(_doubled_area_vectors(vertices, faces), dim=-1, eps=1e-20)


def _doubled_area_vectors(vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B F 3"]:
    # index_select, not [...]: its gradient is summed in a fixed order on the CPU.
    a, b, c = (vertices.index_select(1, faces[:, corner].long()) for corner in range(3))
    return torch.linalg.cross(b - a, c - a)


def mesh_edges(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "N 2"]:
    """Each edge once, as (lower, higher) vertex, in ascending order."""
    key, stride = _edge_keys(faces)
    unique = torch.unique(key)
    return torch.stack([unique // stride, unique % stride], 1)


def _edge_keys(faces: Int[Tensor, "F 3"]) -> tuple[Int[Tensor, "3*F"], int]:
    """One number per half-edge, equal for the two sides of an edge: lower * stride + higher vertex."""
    start, end = faces.long().flatten(), faces.long().roll(-1, 1).flatten()
    stride = int(start.max()) + 1 if len(start) else 1
    return torch.minimum(start, end) * stride + torch.maximum(start, end), stride


def twin_half_edges(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    """The half-edge (3 face + corner) on the other side of each half-edge, -1 at a border.

    Half-edge k of a face runs from its corner k to corner k + 1. Where more than two faces share an edge, the first two
    are neighbours and the others have a border there.
    """
    key, order = torch.sort(_edge_keys(faces)[0], stable=True)
    same = key[1:] == key[:-1]
    first = torch.ones_like(same)
    first[1:] = ~same[:-1]
    pairs = torch.nonzero(same & first)[:, 0]
    twins = torch.full_like(key, -1)
    twins[order[pairs]] = order[pairs + 1]
    twins[order[pairs + 1]] = order[pairs]
    return twins.int().view(-1, 3)


def adjacent_faces(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "N 2"]:
    """Pairs of faces that share an edge, each pair of half-edges once."""
    twins = twin_half_edges(faces).flatten().long()
    own = torch.arange(len(twins), device=faces.device)
    once = torch.nonzero(twins > own)[:, 0]
    return torch.stack([once, twins[once]], 1) // 3


def uniform_laplacian(values: Float[Tensor, "B V C"], edges: Int[Tensor, "N 2"]) -> Float[Tensor, "B V C"]:
    """Mean of a vertex's neighbours minus itself; zero for a vertex without edges. `edges` as `mesh_edges` gives."""
    start, end = edges.unbind(1)
    total = torch.zeros_like(values)
    total = total.index_add(1, start, values.index_select(1, end)).index_add(1, end, values.index_select(1, start))
    # Not bincount, which waits for the GPU.
    degree = values.new_zeros(values.shape[1]).index_add(0, edges.flatten(), values.new_ones(edges.numel()))[:, None]
    return torch.where(degree > 0, total / degree.clamp(min=1) - values, 0.0)


@dataclass(frozen=True, slots=True)
class Subdivision:
    """Every edge split at its middle, every face into four.

    Children of face f are faces 4f to 4f + 3, so meshes with the same face order (positions, texture coordinates) keep
    it. New vertex i comes after all the old ones and lies between `parents[i]`.
    """

    faces: Int[Tensor, "G 3"]
    parents: Int[Tensor, "N 2"]

    def carried(self, values: Float[Tensor, "*batch V C"]) -> Float[Tensor, "*batch W C"]:
        """Per-vertex values on the new mesh: the old ones, then the mean of each new vertex's parents."""
        first, second = (values.index_select(-2, self.parents[:, i]) for i in (0, 1))
        middle = 0.5 * (first + second)
        return torch.cat([values, middle], -2)


def subdivide(faces: Int[Tensor, "F 3"], n_vertices: int) -> Subdivision:
    """Split every face of a mesh of `n_vertices` into four at the middles of its edges."""
    key, stride = _edge_keys(faces)
    unique, middle = torch.unique(key, return_inverse=True)
    parents = torch.stack([unique // stride, unique % stride], 1)
    a, b, c = faces.long().unbind(1)
    ab, bc, ca = (middle.view(-1, 3) + n_vertices).unbind(1)
    children = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).view(-1, 3)
    return Subdivision(children.to(faces.dtype), parents)
