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
from flare_cli.avatar.mouth import own_teeth

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
    if detail == "full" or not avatar.spec.subdivisions:
        return avatar
    fine, n = avatar.mesh.topology, len(avatar.head.template)
    first, places = fine.subdivisions[0], avatar.neutral_vertices()[: len(fine.subdivisions[0].parents) + n]
    stray = (places - first.carried(places[:n]))[n:].norm(dim=1)
    # Borders stay as the head has them, for what closes them to be where it is on the fine mesh's atlas.
    inner = torch.bincount(first.middles().flatten() - n, minlength=len(stray)) > 1
    divided = ((stray > STRAY) & inner) | own_teeth(avatar)[first.parents].all(1)
    topology = Topology(avatar.head.faces, avatar.head.uv, avatar.head.uv_faces).divided_where(n, divided)
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
