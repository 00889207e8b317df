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
    diagonal: Float[Tensor, "N D"],
    next_one: Float[Tensor, "N D"],
    next_two: Float[Tensor, "N D"],
    gradient: Float[Tensor, "N D"],
) -> Float[Tensor, "N D"]:
    """Solve for frames that are tied to the next and the one after it, each unknown to itself.

    `diagonal` is added to the blocks' diagonals. `next_one[n]` is the entry between frames n and n + 1, `next_two[n]`
    between n and n + 2; the last ones are unused.
    Pairs of frames are tied to the next pair only: Cholesky's method, pair by pair, on blocks that fill a core. LAPACK
    for banded matrices shares out pieces of 32 x 32: 1.8 s on two cores, 8 s where they were busy, instead of 0.25 s.
    """
    N, D = gradient.shape
    diagonals, within, ties, right = _by_pairs(diagonal, next_one, next_two, -gradient)
    # Both are written again for each pair, the second only where it isn't 0: `tie` is between it and the next pair.
    pair, tie = gradient.new_zeros(2, 2 * D, 2 * D)
    tie_entries = tie.view(2, D, 2, D).diagonal(dim1=1, dim2=3)
    factors: list[Tensor] = []
    step = right.new_zeros(len(right) + 1, 2 * D, 1)
    ahead, known = torch.zeros_like(tie), step[-1]
    for k in range(len(right)):
        _write_pair(pair, blocks[2 * k : 2 * k + 2], diagonals[k], within[k])
        factors.append(torch.linalg.cholesky(pair.addmm_(ahead.T, ahead, alpha=-1)))
        known = torch.linalg.solve_triangular(factors[k], right[k] - ahead.T @ known, upper=False)
        tie_entries.copy_(ties[k])
        ahead = torch.linalg.solve_triangular(factors[k], tie, upper=False)
        step[k] = known
    for k in reversed(range(len(right))):
        coming = (ties[k] * step[k + 1].view(2, D)).sum(1).view(-1, 1)
        known = step[k] - torch.linalg.solve_triangular(factors[k], coming, upper=False)
        step[k] = torch.linalg.solve_triangular(factors[k].T, known, upper=True)
    return step.view(-1, D)[:N]


def _by_pairs(
    diagonal: Float[Tensor, "N D"],
    next_one: Float[Tensor, "N D"],
    next_two: Float[Tensor, "N D"],
    right: Float[Tensor, "N D"],
) -> tuple[Float[Tensor, "K D2"], Float[Tensor, "K D"], Float[Tensor, "K 2 2 D"], Float[Tensor, "K D2 1"]]:
    """Diagonals of the pairs, between their frames, between them and the next ones; and their right sides.

    An odd frame is paired with one that is 1 on the diagonal and tied to nothing.
    """
    N, D = diagonal.shape
    alone, one, two, known = diagonal.new_zeros(4, N + N % 2, D)
    alone[:N], alone[N:], known[:N] = diagonal, 1, right
    one[: N - 1], two[: max(N - 2, 0)] = next_one[: N - 1], next_two[: max(N - 2, 0)]
    ties = torch.stack([two[::2], torch.zeros_like(two[::2]), one[1::2], two[1::2]], 1).unflatten(1, (2, 2))
    return alone.view(-1, 2 * D), one[::2], ties, known.view(-1, 2 * D, 1)


def _write_pair(
    pair: Float[Tensor, "D2 D2"],
    blocks: Float[Tensor, "n D D"],
    diagonal: Float[Tensor, "D2"],
    within: Float[Tensor, "D"],
) -> None:
    D = len(within)
    pair.zero_()
    for half, block in zip((slice(D), slice(D, None)), blocks, strict=False):
        pair[half, half] = block
    pair.diagonal().add_(diagonal)
    pair.diagonal(D).copy_(within)
    pair.diagonal(-D).copy_(within)
