"""Steps of Gauss-Newton for sums with one block of unknowns per frame: the systems are sparse, and this is how."""

from __future__ import annotations

import torch
from jaxtyping import Float
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
    """Solve for frames that are tied to the next and the one after it, each unknown to itself.

    `next_one[n]` is the entry between frames n and n + 1, `next_two[n]` between n and n + 2; the last ones are unused.
    Pairs of frames are tied to the next pair only: Cholesky's method, pair by pair, on blocks that fill a core. LAPACK
    for banded matrices shares out pieces of 32 x 32: 1.8 s on two cores, 8 s where they were busy, instead of 0.4 s.
    """
    N, D = gradient.shape
    pairs, below = _pairs(blocks, next_one, next_two)
    right = gradient.new_zeros(len(pairs), 2 * D, 1)
    right.view(-1)[: N * D] = -gradient.reshape(-1)
    for k in range(len(pairs)):
        if k > 0:
            ahead = torch.linalg.solve_triangular(pairs[k - 1], _between(*below[k - 1]).T, upper=False)
            pairs[k] -= ahead.T @ ahead
            right[k] -= ahead.T @ right[k - 1]
        pairs[k] = torch.linalg.cholesky(pairs[k])
        right[k] = torch.linalg.solve_triangular(pairs[k], right[k], upper=False)
    for k in reversed(range(len(pairs))):
        if k + 1 < len(pairs):
            known = _between(*below[k]).T @ right[k + 1]
            right[k] -= torch.linalg.solve_triangular(pairs[k], known, upper=False)
        right[k] = torch.linalg.solve_triangular(pairs[k].T, right[k], upper=True)
    return right.view(-1)[: N * D].view(N, D)


def _pairs(
    blocks: Float[Tensor, "N D D"], next_one: Float[Tensor, "N D"], next_two: Float[Tensor, "N D"]
) -> tuple[Float[Tensor, "K D2 D2"], Float[Tensor, "K 3 D"]]:
    """The blocks of two frames each, an odd one filled up; and the three diagonals that `_between` takes."""
    N, D = next_one.shape
    K = (N + 1) // 2
    one, two = next_one.new_zeros(2, 2 * K, D)
    one[: N - 1], two[: max(N - 2, 0)] = next_one[: N - 1], next_two[: max(N - 2, 0)]
    pairs = torch.eye(2 * D).to(blocks).repeat(K, 1, 1)
    pairs[:, :D, :D], pairs[: N // 2, D:, D:] = blocks[::2], blocks[1::2]
    tied = torch.diag_embed(one[::2])
    pairs[:, D:, :D], pairs[:, :D, D:] = tied, tied
    return pairs, torch.stack([two[::2], one[1::2], two[1::2]], 1)


def _between(
    firsts: Float[Tensor, "D"], second_to_first: Float[Tensor, "D"], seconds: Float[Tensor, "D"]
) -> Float[Tensor, "D2 D2"]:
    """The matrix between a pair of frames (columns) and the next pair (rows)."""
    D = len(firsts)
    matrix = firsts.new_zeros(2 * D, 2 * D)
    matrix.diagonal()[:] = torch.cat([firsts, seconds])
    matrix.diagonal(D)[:] = second_to_first
    return matrix
