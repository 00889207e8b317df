import pytest
import torch

from flare_cli.render.light.octahedral_map import SIDE, octahedral_lookup


@pytest.fixture
def directions():
    """Directions all over the sphere: random ones, poles, and both sides of the fold's creases."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(2000, 3, generator=generator)
    creases = random[:600].clone()
    creases[torch.arange(600), torch.arange(600) % 3] *= 1e-6
    return torch.nn.functional.normalize(torch.cat([random, creases, torch.eye(3), -torch.eye(3)]), dim=1)


def test_harmonics_of_degree_two_are_looked_up_to_a_hundredth_of_their_range(directions):
    def harmonics(d):
        x, y, z = d.unbind(1)
        return torch.stack([2 * x * y, 2 * y * z, x**2 - z**2], 1)

    error = (octahedral_lookup(harmonics, directions) - harmonics(directions)).abs()
    assert error.max() < 0.02
    assert error.mean() < 0.002


def test_a_constant_stays_one_and_has_no_slope(directions):
    directions = directions.requires_grad_()
    values = octahedral_lookup(torch.ones_like, directions)
    torch.testing.assert_close(values, torch.ones_like(values))
    values.sum().backward()
    assert directions.grad.abs().max() < 1e-5


def test_gradients_to_directions_are_finite_differences_within_cells(directions):
    generator = torch.Generator().manual_seed(1)
    table = torch.randn((SIDE + 1) ** 2, 3, generator=generator)
    directions, step = directions[:2000].clone().requires_grad_(), 1e-4
    octahedral_lookup(lambda _: table, directions).sum().backward()
    agree = 0
    for axis in range(3):
        change = torch.zeros(3)
        change[axis] = step
        plus, minus = (octahedral_lookup(lambda _: table, directions.detach() + s * change) for s in (1, -1))
        slope = (plus - minus).sum(1) / (2 * step)
        agree += ((slope - directions.grad[:, axis]).abs() < 0.02 * slope.abs() + 0.5).float().mean() / 3
    assert agree > 0.95  # the others step over the border of a cell


def test_the_gradient_to_the_table_is_the_adjoint_of_the_lookup(directions):
    generator = torch.Generator().manual_seed(2)
    table, other = torch.randn(2, (SIDE + 1) ** 2, 3, generator=generator)
    table.requires_grad_()
    weight = torch.randn(len(directions), 3, generator=generator)
    (octahedral_lookup(lambda _: table, directions) * weight).sum().backward()
    expected = (octahedral_lookup(lambda _: other, directions) * weight).sum()
    torch.testing.assert_close((table.grad * other).sum(), expected, rtol=1e-3, atol=1e-2)
