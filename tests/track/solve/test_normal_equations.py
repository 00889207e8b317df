"""The sparse solvers against a dense one."""

import pytest
import torch

from flare_cli.track.solve.normal_equations import step_with_neighbours, step_with_shared

N, D, G = 5, 4, 3


def positive(size: int, generator: torch.Generator) -> torch.Tensor:
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + size * torch.eye(size, dtype=torch.float64)


def test_shared_unknowns_are_eliminated_exactly():
    whole = positive(N * D + G, torch.Generator().manual_seed(0))
    frames = whole[: N * D, : N * D] * torch.block_diag(*[torch.ones(D, D, dtype=torch.float64)] * N)
    whole[: N * D, : N * D] = frames
    whole += 40 * torch.eye(len(whole), dtype=torch.float64)
    gradient = torch.randn(len(whole), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    blocks = torch.stack([whole[n * D : (n + 1) * D, n * D : (n + 1) * D] for n in range(N)])
    step, shared = step_with_shared(
        blocks,
        whole[: N * D, N * D :].reshape(N, D, G),
        whole[N * D :, N * D :],
        gradient[: N * D].reshape(N, D),
        gradient[N * D :],
    )
    expected = -torch.linalg.solve(whole, gradient)
    torch.testing.assert_close(torch.cat([step.reshape(-1), shared]), expected)


@pytest.mark.parametrize("N", [2, 3, 4, 5, 8])
def test_neighbouring_frames_are_solved_together(N: int):
    generator = torch.Generator().manual_seed(2)
    blocks = torch.stack([positive(D, generator) + 20 * torch.eye(D, dtype=torch.float64) for _ in range(N)])
    own, one, two, gradient = (torch.randn(N, D, generator=generator, dtype=torch.float64) for _ in range(4))
    whole = torch.block_diag(*blocks) + own.flatten().diag()
    for n in range(N):
        for d in range(D):
            for reach, value in ((1, one), (2, two)):
                if n + reach < N:
                    whole[n * D + d, (n + reach) * D + d] = whole[(n + reach) * D + d, n * D + d] = value[n, d]
    expected = -torch.linalg.solve(whole, gradient.reshape(-1)).reshape(N, D)
    torch.testing.assert_close(step_with_neighbours(blocks, own, one, two, gradient), expected)


def test_a_single_frame_is_a_plain_system():
    block = positive(D, torch.Generator().manual_seed(3))[None]
    gradient = torch.ones(1, D, dtype=torch.float64)
    zero = torch.zeros(1, D, dtype=torch.float64)
    expected = -torch.linalg.solve(block[0], gradient[0])[None]
    torch.testing.assert_close(step_with_neighbours(block, zero, zero, zero, gradient), expected)
