"""Values that go on over a mesh from where they are known."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

# How strongly neighbours pull, against a vertex of full share.
SMOOTHNESS = 0.02


def filled_over_surface(
    values: Float[Tensor, "V C"],
    share: Float[Tensor, "V 1"],
    edges: Int[Tensor, "N 2"],
    smoothness: float = SMOOTHNESS,
    pull: Float[Tensor, "N 1"] | None = None,
    stiffness: float = 0.0,
) -> Float[Tensor, "V C"]:
    """The x that minimise sum share (x - values)^2 + `smoothness` `pull` (difference along edges)^2 + `stiffness` b^2.

    b is by how much x differs from the mean of its neighbours. Each edge pulls by 1 unless `pull` says otherwise.
    Where the share is 0 they are what their neighbours make of them; a part of the mesh without any stays as it is.
    """
    n = len(values)
    pulls = torch.ones(len(edges), 1) if pull is None else pull
    weight = share.cpu().double().numpy() + 1e-9
    system = sparse.diags(weight[:, 0]) + smoothness * _laplacian(edges, pulls, n)
    if stiffness:
        alike = _laplacian(edges, torch.ones_like(pulls), n)
        bent = sparse.diags(1 / np.maximum(alike.diagonal(), 1)) @ alike
        system = system + stiffness * (bent.T @ bent)
    solved = splu(system.tocsc()).solve(weight * values.cpu().double().numpy())
    return torch.from_numpy(solved).to(values)


def _laplacian(edges: Int[Tensor, "N 2"], weights: Float[Tensor, "N 1"], n: int) -> sparse.csr_matrix:
    """Of a graph of `n` vertices: x^T of it x is the sum of weighted squared differences along edges."""
    one, other = edges.cpu().numpy().T
    links = sparse.coo_matrix((weights[:, 0].cpu().double().numpy(), (one, other)), shape=(n, n))
    links = links + links.T
    return sparse.csr_matrix(sparse.diags(np.asarray(links.sum(1)).ravel()) - links)
