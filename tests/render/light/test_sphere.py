import math

import torch

from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.light.sphere import ONE, even_directions, harmonics, turned_harmonics


def test_harmonics_are_orthonormal_over_the_sphere():
    basis = harmonics(even_directions(20_000).double())
    torch.testing.assert_close(
        basis.T @ basis * (4 * math.pi / len(basis)), torch.eye(9, dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_one_is_one_everywhere():
    values = ONE * harmonics(even_directions(100))[:, 0]
    torch.testing.assert_close(values, torch.ones(100))


def test_directions_are_even():
    directions = even_directions(256)
    nearest = (directions @ directions.T).fill_diagonal_(-2).amax(1).acos()
    spacing = math.sqrt(4 * math.pi / 256)
    assert directions.mean(0).norm() < 1e-3
    assert nearest.min() > 0.7 * spacing
    assert nearest.max() < 1.1 * spacing


def test_turned_harmonics_are_the_turned_function():
    generator = torch.Generator().manual_seed(0)
    rotation = rotation_from_axis_angle(torch.randn(3, 3, generator=generator))
    numbers, directions = torch.randn(3, 9, generator=generator), even_directions(50)
    turned = (numbers[:, None] @ turned_harmonics(rotation))[:, 0]
    before = torch.einsum("bk,dk->bd", numbers, harmonics(directions))
    after = torch.stack([harmonics(directions @ r.T) @ n for r, n in zip(rotation, turned, strict=True)])
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
