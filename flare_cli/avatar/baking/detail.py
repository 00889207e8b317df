"""An avatar with fewer triangles than its fit divided it into: the head model's own, and more where it bends."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.linalg import factorized
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.bust import closed
from flare_cli.avatar.mesh import Topology
from flare_cli.render.geometry import Subdivision, subdivide

Detail: TypeAlias = Literal["light", "full"]
"""All triangles of the fit, or as many as its shape needs, with what is finer in a normal texture."""
# Metres: an edge stays divided whose middle the fit moved farther away. A sixth of a pixel of a head in 384; of five
# fitted heads 4 to 7 % of the edges.
STRAY = 2e-4


@torch.no_grad()
def of_detail(avatar: Avatar, detail: Detail) -> Avatar:
    """The avatar with the vertices and triangles that a rig of this detail has; closed below if it is.

    Teeth stay divided: one that is a square from gum to edge has no vertex on its front that sees what light comes in.
    Where edges don't, their ends move to where the undivided triangles are nearest to the fine mesh.
    """
    if detail == "full" or not avatar.mesh.subdivisions:
        return avatar
    fine, n = avatar.mesh.topology, len(avatar.head.template)
    first, places = fine.subdivisions[0], avatar.neutral_vertices()[: len(fine.subdivisions[0].parents) + n]
    teeth = avatar.head.regions.get("teeth", torch.zeros(n, dtype=torch.bool, device=avatar.device))
    stray = (places - first.carried(places[:n]))[n:].norm(dim=1)
    # Borders stay as the head has them, for what closes them to be where it is on the fine mesh's atlas.
    inner = torch.bincount(_middles(first).flatten() - n, minlength=len(stray)) > 1
    divided = ((stray > STRAY) & inner) | teeth[first.parents].all(1)
    topology = _partly_divided(avatar, divided)
    offsets = avatar.mesh.offsets[places_in(fine, topology, n)].clone()
    offsets[:n] += _nearest(places, first.parents, divided) - places[:n]
    coarse = avatar.with_mesh(avatar.mesh.over(topology, offsets))
    return coarse if fine.underside is None else closed(coarse, None)[0]


def places_in(fine: Topology, coarse: Topology, n: int) -> Int[Tensor, " W"]:
    """Which vertices of a fine mesh those of a coarse one are, but for its underside; the head's own `n` first."""
    all_edges, divided = (
        topology.subdivisions[0].parents[:, 0] * n + topology.subdivisions[0].parents[:, 1]
        for topology in (fine, coarse)
    )
    return torch.cat([torch.arange(n, device=divided.device), n + torch.searchsorted(all_edges, divided)])


def _partly_divided(avatar: Avatar, divided: Bool[Tensor, " N"]) -> Topology:
    """The head's triangles, in so many as they have edges that are divided, and one."""
    head = avatar.head
    whole = subdivide(head.faces, len(head.template))
    split = divided[_middles(whole) - len(head.template)]
    faces, parents = _in_parts(head.faces, len(head.template), whole, split)
    uv_faces, uv_parents = _in_parts(head.uv_faces, len(head.uv), subdivide(head.uv_faces, len(head.uv)), split)
    a, b, c = faces.unbind(1)
    real = (a != b) & (b != c) & (c != a)
    uv = Subdivision(uv_faces[real], uv_parents)
    return Topology(faces[real], uv.carried(head.uv), uv.faces, (Subdivision(faces[real], parents),))


def _in_parts(
    faces: Int[Tensor, "F 3"], n: int, whole: Subdivision, split: Bool[Tensor, "F 3"]
) -> tuple[Int[Tensor, "G 3"], Int[Tensor, "M 2"]]:
    """Each face in four, but the middle of an edge that is not split is the edge's end: some are of no area then."""
    middles = _middles(whole) - n
    kept = torch.unique(middles[split])
    ab, bc, ca = torch.where(split, n + torch.searchsorted(kept, middles), faces.roll(-1, 1).long()).unbind(1)
    a, b, c = faces.long().unbind(1)
    parts = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).view(-1, 3)
    return parts.to(faces.dtype), whole.parents[kept]


def _middles(whole: Subdivision) -> Int[Tensor, "F 3"]:
    """The vertices in the middle of each face's edges, from its first corner to its second and on."""
    a, b = whole.faces[0::4], whole.faces[1::4]
    return torch.stack([a[:, 1], b[:, 2], a[:, 2]], 1).long()


def _nearest(
    places: Float[Tensor, "W 3"], parents: Int[Tensor, "N 2"], divided: Bool[Tensor, " N"]
) -> Float[Tensor, "V 3"]:
    """Where the ends of edges that are not divided are, and the edges' middles with them, nearest to `places`."""
    n, kept = len(places) - len(parents), (~divided).cpu().numpy()
    ends = parents.cpu().numpy()[kept]
    entries = np.full(ends.size, 0.5), (np.arange(len(ends)).repeat(2), ends.ravel())
    rows = sparse.vstack([sparse.identity(n), sparse.csr_matrix(entries, (len(ends), n))], format="csr")
    wanted = places.cpu().double().numpy()
    products = rows.T @ np.concatenate([wanted[:n], wanted[n:][kept]])
    solve = factorized((rows.T @ rows).tocsc())
    return torch.from_numpy(np.stack([solve(column) for column in products.T], 1)).to(places)
