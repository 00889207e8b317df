"""Meshes as plain tensors: normals, edges, neighbours, the uniform Laplacian and midpoint subdivision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from flare_cli.render.kernels import geometry as kernels
from flare_cli.render.launch import Each, launch, vectors


def vertex_normals(vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit normals, each the area-weighted mean over the faces around a vertex; zero where there are none."""
    return _VertexNormals.apply(vertices, faces.int().contiguous(), *corners_at(faces, vertices.shape[1]))


def normal_consistency(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], twins: Int[Tensor, "F 3"]
) -> Float[Tensor, ""]:
    """Mean of (1 - cos)^2 between the normals of faces that share an edge. `twins` as `twin_half_edges` gives."""
    return _NormalConsistency.apply(vertices, faces.int().contiguous(), twins, *corners_at(faces, len(vertices)))


def uniform_laplacian(values: Float[Tensor, "V 3"], edges: Int[Tensor, "N 2"]) -> Float[Tensor, "V 3"]:
    """Mean of a vertex's neighbours minus itself; zero for a vertex without edges. `edges` as `mesh_edges` gives."""
    return _Laplacian.apply(values, *neighbours(edges, len(values)))


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor, offsets: Tensor, corners: Tensor) -> Tensor:
        vertices = vertices.contiguous()
        total, normal = torch.empty_like(vertices), torch.empty_like(vertices)
        arguments = [_each(vertices), offsets, _triples(corners), _each(total), _each(normal)]
        launch(kernels.area_vectors, tuple(vertices.shape[:2]), vertices.device, arguments)
        ctx.save_for_backward(vertices, faces, offsets, corners, total)
        return normal

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        vertices, faces, offsets, corners, total = ctx.saved_tensors
        area_grads = vertices.new_empty(len(vertices), len(faces), 3)
        arguments = [faces, _each(total), _each(grad_outputs[0].contiguous()), _each(area_grads)]
        launch(kernels.area_vector_gradients, (len(vertices), len(faces)), vertices.device, arguments)
        return _vertex_gradients(vertices, offsets, corners, area_grads), None, None, None


class _NormalConsistency(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor, twins: Tensor, offsets: Tensor, corners: Tensor) -> Tensor:
        vertices = vertices.contiguous()[None]
        error, area_grads = vertices.new_empty(len(faces)), vertices.new_empty(1, len(faces), 3)
        launch(
            kernels.normal_consistency,
            len(faces),
            faces.device,
            [vectors(vertices), faces, twins, error, vectors(area_grads)],
        )
        pairs = (twins >= 0).sum() / 2
        ctx.save_for_backward(vertices, offsets, corners, area_grads, pairs)
        return error.sum() / pairs

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        vertices, offsets, corners, area_grads, pairs = ctx.saved_tensors
        grad = _vertex_gradients(vertices, offsets, corners, area_grads)[0]
        return grad * (grad_outputs[0] / pairs), None, None, None, None


def _each(values: Float[Tensor, "B N 3"]) -> Each:
    return Each(values, of_vectors=True)


def _triples(corners: Int[Tensor, "N 3"]) -> wp.array:
    return wp.from_torch(corners, dtype=wp.vec3i)


def _vertex_gradients(
    vertices: Float[Tensor, "B V 3"], offsets: Tensor, corners: Tensor, area_grads: Float[Tensor, "B F 3"]
) -> Float[Tensor, "B V 3"]:
    """Gradients of the vertices, given those of the faces' area vectors."""
    grad = torch.empty_like(vertices)
    arguments = [_each(vertices), offsets, _triples(corners), _each(area_grads), _each(grad)]
    launch(kernels.vertex_gradients, tuple(vertices.shape[:2]), vertices.device, arguments)
    return grad


class _Laplacian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: Tensor, neighbour_lists: Tensor) -> Tensor:
        values = values.contiguous()
        out = torch.empty_like(values)
        launch(kernels.laplacian, len(values), values.device, [vectors(values), offsets, neighbour_lists, vectors(out)])
        ctx.save_for_backward(offsets, neighbour_lists)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        offsets, neighbour_lists = ctx.saved_tensors
        grad_out = grad_outputs[0].contiguous()
        grad = torch.empty_like(grad_out)
        arguments = [offsets, neighbour_lists, vectors(grad_out), vectors(grad)]
        launch(kernels.laplacian_backward, len(grad), grad.device, arguments)
        return grad, None, None


_corners, _neighbours = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()


def corners_at(faces: Int[Tensor, "F 3"], n_vertices: int) -> tuple[Int[Tensor, "V1"], Int[Tensor, "3*F 3"]]:
    """The faces at each vertex, as (face, next vertex, vertex after that): where its list starts, and all lists.

    Worked out once, and kept as long as `faces` lives.
    """
    if faces not in _corners:
        offsets, order = _grouped(faces.flatten().long(), n_vertices)
        face = torch.arange(len(faces), device=faces.device)[:, None].expand(-1, 3)
        rows = torch.stack([face, faces.roll(-1, 1), faces.roll(-2, 1)], -1).flatten(0, 1)
        _corners[faces] = offsets, rows[order.long()].int().contiguous()
    return _corners[faces]


def neighbours(edges: Int[Tensor, "N 2"], n_vertices: int) -> tuple[Int[Tensor, "V1"], Int[Tensor, "2*N"]]:
    """The neighbours of each vertex: where its list starts, and all lists. Kept as long as `edges` lives."""
    if edges not in _neighbours:
        offsets, order = _grouped(edges.flatten(), n_vertices)
        _neighbours[edges] = offsets, edges.flip(1).flatten()[order.long()].int()
    return _neighbours[edges]


def _grouped(vertex: Int[Tensor, " N"], n_vertices: int) -> tuple[Int[Tensor, "V1"], Int[Tensor, " N"]]:
    """Entries by vertex: where each vertex's entries start, and the entries in that order."""
    ascending, order = torch.sort(vertex, stable=True)
    offsets = torch.searchsorted(ascending, torch.arange(n_vertices + 1, device=vertex.device))
    return offsets.int(), order.int()


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
    are neighbours and the neighbour_lists have a border there.
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

    def middles(self) -> Int[Tensor, "F 3"]:
        """The new vertices in the middle of each old face's edges, from its first corner to its second and on."""
        first, second = self.faces[0::4].long(), self.faces[1::4].long()
        return torch.stack([first[:, 1], second[:, 2], first[:, 2]], 1)


def subdivide(faces: Int[Tensor, "F 3"], n_vertices: int) -> Subdivision:
    """Split every face of a mesh of `n_vertices` into four at the middles of its edges."""
    key, stride = _edge_keys(faces)
    unique, middle = torch.unique(key, return_inverse=True)
    parents = torch.stack([unique // stride, unique % stride], 1)
    a, b, c = faces.long().unbind(1)
    ab, bc, ca = (middle.view(-1, 3) + n_vertices).unbind(1)
    children = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).view(-1, 3)
    return Subdivision(children.to(faces.dtype), parents)
