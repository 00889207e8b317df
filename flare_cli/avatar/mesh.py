"""The canonical mesh: the head model's topology, subdivided as often as asked, plus a free offset per vertex."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from flare_cli.head.model import HeadModel
from flare_cli.render.geometry import Subdivision, subdivide


@dataclass(frozen=True, slots=True)
class Underside:
    """Vertices that close a mesh below (`bust.py`), after all others: each has what its `source` has, a vertex of the
    cut.
    """

    source: Int[Tensor, " N"]

    def carried(self, values: Float[Tensor, "*batch V C"]) -> Float[Tensor, "*batch W C"]:
        """Per-vertex values, then those of the new vertices."""
        return torch.cat([values, values.index_select(-2, self.source)], -2)


@dataclass(frozen=True, slots=True)
class Topology:
    """A mesh over the head model's vertices after some subdivisions. UVs are divided alike, so seams stay seams.

    A fit's has no `underside`.
    """

    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"]
    uv_faces: Int[Tensor, "F 3"]
    subdivisions: tuple[Subdivision, ...] = ()
    underside: Underside | None = None

    def subdivided(self, n_vertices: int) -> Topology:
        """Every triangle of a mesh of `n_vertices` in four."""
        division = subdivide(self.faces, n_vertices)
        uv_division = subdivide(self.uv_faces, len(self.uv))
        return Topology(division.faces, uv_division.carried(self.uv), uv_division.faces, (*self.subdivisions, division))

    def divided_where(self, n_vertices: int, split: Bool[Tensor, " N"]) -> Topology:
        """Triangles in so many as they have edges that are `split`, and one; edges are in the order of `mesh_edges`."""
        whole, uv_whole = subdivide(self.faces, n_vertices), subdivide(self.uv_faces, len(self.uv))
        sides = split[whole.middles() - n_vertices]
        faces, parents = _in_parts(self.faces, whole, sides)
        uv_faces, uv_parents = _in_parts(self.uv_faces, uv_whole, sides)
        a, b, c = faces.unbind(1)
        real = (a != b) & (b != c) & (c != a)
        division, uv_division = Subdivision(faces[real], parents), Subdivision(uv_faces[real], uv_parents)
        return Topology(division.faces, uv_division.carried(self.uv), uv_division.faces, (*self.subdivisions, division))

    def carried(self, values: Float[Tensor, "*batch V C"]) -> Float[Tensor, "*batch W C"]:
        """Values at the head model's vertices, carried to this mesh's: a new vertex has the mean of its parents."""
        for division in self.subdivisions:
            values = division.carried(values)
        return values if self.underside is None else self.underside.carried(values)


@final
class CanonicalMesh(nn.Module):
    """Topology and offsets. Offsets are metres in the head's rest pose."""

    def __init__(self, head: HeadModel, subdivisions: int) -> None:
        super().__init__()
        topology, n_vertices = Topology(head.faces, head.uv, head.uv_faces), len(head.template)
        for _ in range(subdivisions):
            topology = topology.subdivided(n_vertices)
            n_vertices += len(topology.subdivisions[-1].parents)
        self.topology = topology
        self.offsets = nn.Parameter(torch.zeros(n_vertices, 3, device=head.template.device))

    @property
    def subdivisions(self) -> int:
        """How often the head's triangles were divided in four."""
        return len(self.topology.subdivisions)

    def over(self, topology: Topology, offsets: Float[Tensor, "W 3"]) -> CanonicalMesh:
        """A mesh with other triangles over the same head."""
        other = copy.copy(self)
        other.topology = topology
        other._parameters = {"offsets": nn.Parameter(offsets, requires_grad=self.offsets.requires_grad)}
        return other

    def subdivided(self, head: HeadModel) -> CanonicalMesh:
        """The same surface with one more subdivision."""
        finer = CanonicalMesh(head, self.subdivisions + 1)
        with torch.no_grad():
            finer.offsets.copy_(finer.topology.subdivisions[-1].carried(self.offsets))
        return finer


def _in_parts(
    faces: Int[Tensor, "F 3"], whole: Subdivision, split: Bool[Tensor, "F 3"]
) -> tuple[Int[Tensor, "G 3"], Int[Tensor, "M 2"]]:
    """Each face in four, but the middle of an edge that is not split is the edge's end: some are of no area then."""
    middles = whole.middles()
    n = int(middles.min())
    kept = torch.unique(middles[split])
    ab, bc, ca = torch.where(split, n + torch.searchsorted(kept, middles), faces.roll(-1, 1).long()).unbind(1)
    a, b, c = faces.long().unbind(1)
    parts = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).view(-1, 3)
    return parts.to(faces.dtype), whole.parents[kept - n]
