"""The canonical mesh: the head model's topology, subdivided as often as asked, plus a free offset per vertex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.head.model import HeadModel
from flare_cli.render.geometry import subdivide


@dataclass(frozen=True, slots=True)
class Topology:
    """A mesh over the head model's vertices. `parents` holds, per subdivision, the two parents of each new vertex."""

    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"]
    uv_faces: Int[Tensor, "F 3"]
    parents: tuple[Int[Tensor, "N 2"], ...] = ()

    def subdivided(self) -> Topology:
        """Every triangle in four; UVs are carried along, so seams stay seams."""
        faces, parents = subdivide(self.faces)
        uv_faces, uv_parents = subdivide(self.uv_faces)
        return Topology(faces, carry(self.uv, (uv_parents,)), uv_faces, (*self.parents, parents))


def carry(values: Float[Tensor, "*batch V C"], parents: tuple[Int[Tensor, "N 2"], ...]) -> Float[Tensor, "*batch W C"]:
    """Carry per-vertex values through subdivisions: old vertices keep theirs, new ones get the mean of their parents."""
    for pair in parents:
        middle = 0.5 * (values[..., pair[:, 0], :] + values[..., pair[:, 1], :])
        values = torch.cat([values, middle], -2)
    return values


@final
class CanonicalMesh(nn.Module):
    """Topology and offsets. Offsets are metres in the head's rest pose."""

    def __init__(self, head: HeadModel, subdivisions: int) -> None:
        super().__init__()
        self.topology = Topology(head.faces, head.uv, head.uv_faces)
        for _ in range(subdivisions):
            self.topology = self.topology.subdivided()
        n_vertices = head.template.shape[0] + sum(len(pair) for pair in self.topology.parents)
        self.offsets = nn.Parameter(torch.zeros(n_vertices, 3, device=head.template.device))

    @property
    def subdivisions(self) -> int:
        """How often the head's triangles were divided in four."""
        return len(self.topology.parents)

    def subdivided(self, head: HeadModel) -> CanonicalMesh:
        """The same surface with one more subdivision."""
        finer = CanonicalMesh(head, self.subdivisions + 1)
        with torch.no_grad():
            finer.offsets.copy_(carry(self.offsets, finer.topology.parents[-1:]))
        return finer
