"""Values that go on from where they are known."""

import torch

from flare_cli.avatar.unseen.over_surface import filled_over_surface


def chain(n: int) -> torch.Tensor:
    return torch.stack([torch.arange(n - 1), torch.arange(1, n)], 1)


def test_gaps_are_filled_in_a_straight_line():
    """Along a chain with ends of 1 and 5 that are held, what lies between has even steps."""
    values = torch.tensor([[1.0], *[[99.0]] * 7, [5.0]])
    share = torch.tensor([[1e6], *[[0.0]] * 7, [1e6]])
    filled = filled_over_surface(values, share, chain(9))
    torch.testing.assert_close(filled[:, 0], torch.linspace(1, 5, 9), atol=1e-4, rtol=0)


def test_what_is_stiff_leaves_its_ends_without_a_corner():
    """Two held values at each end, level: a clamped beam, 3 t^2 - 2 t^3 between the inner ones."""
    values = torch.zeros(22, 1)
    values[-2:] = 1
    share = torch.zeros(22, 1)
    share[[0, 1, -2, -1]] = 1e6
    filled = filled_over_surface(values, share, chain(22), 0.0, stiffness=1.0)
    # Level are the middles of the two held edges, half a step outside.
    t = ((torch.arange(1, 21) - 0.5) / 20)[:, None]
    torch.testing.assert_close(filled[1:-1], 3 * t**2 - 2 * t**3, atol=0.01, rtol=0)


def test_what_nothing_is_known_of_stays():
    values = torch.tensor([[1.0], [2.0], [3.0], [7.0]])
    filled = filled_over_surface(values, torch.tensor([[1.0], [1.0], [1.0], [0.0]]), chain(3))
    torch.testing.assert_close(filled[3], values[3])
