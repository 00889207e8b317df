"""Steps of Gauss-Newton for sums with one block of unknowns per frame: the systems are sparse, and this is how."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solveh_banded
from torch import Tensor


def step_with_shared(
    blocks: Float[Tensor, "N D D"],
    cross: Float[Tensor, "N D G"],
    shared: Float[Tensor, "G G"],
    frame_gradient: Float[Tensor, "N D"],
    shared_gradient: Float[Tensor, "G"],
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "G"]]:
    """Solve for frames that only share `G` unknowns: their blocks are eliminated (Schur), then put back."""
    G = len(shared)
    solved = torch.linalg.solve(blocks, torch.cat([cross, frame_gradient[..., None]], 2))
    reduced = shared - torch.einsum("ndg,ndh->gh", cross, solved[..., :G])
    right = shared_gradient - torch.einsum("ndg,nd->g", cross, solved[..., G])
    shared_step = -torch.linalg.solve(reduced, right)
    return -solved[..., G] - solved[..., :G] @ shared_step, shared_step


def step_with_neighbours(
    blocks: Float[Tensor, "N D D"],
    next_one: Float[Tensor, "N D"],
    next_two: Float[Tensor, "N D"],
    gradient: Float[Tensor, "N D"],
) -> Float[Tensor, "N D"]:
    """Solve for frames that are tied to the next and the one after it, each unknown to itself: a banded system.

    `next_one[n]` is the entry between frames n and n + 1, `next_two[n]` between n and n + 2; the last ones are unused.
    """
    N, D = gradient.shape
    reach = 2 * D if N > 1 else D - 1
    band = np.zeros((reach + 1, N * D))  # lower form: band[i - j, j] = entry (i, j)
    whole = blocks.cpu().numpy()
    for offset in range(D):
        lower = np.zeros((N, D))
        lower[:, : D - offset] = np.diagonal(whole, -offset, 1, 2)
        band[offset] = lower.reshape(-1)
    if N > 1:
        band[D] += next_one.cpu().numpy().reshape(-1)
        band[2 * D] += next_two.cpu().numpy().reshape(-1)
    step = solveh_banded(band, -gradient.cpu().numpy().reshape(-1), lower=True, overwrite_ab=True)
    return torch.from_numpy(step).to(gradient).reshape(N, D)
