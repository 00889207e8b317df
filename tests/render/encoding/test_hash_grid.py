"""Conformance of every encoding that runs here: where they share a table against float64, all against the contract."""

import pytest
import torch
from support import candidates

from flare_cli.render.encoding.grid_table import GridShape
from flare_cli.render.encoding.torch_encoding import TorchHashGrid

SHAPES = [
    {"levels": 4, "log2_entries": 9, "base": 4, "finest": 64},  # two dense levels, two hashed
    {"levels": 1, "log2_entries": 14, "base": 16, "finest": 16},
    {"levels": 3, "log2_entries": 6, "base": 100, "finest": 5000},
]


@pytest.fixture(params=candidates.parameters(candidates.ENCODINGS))
def build(request):
    """Makes an encoding of the backend under test."""
    return lambda **shape: candidates.encoding_of(request.param, **shape)


@pytest.fixture(params=candidates.parameters([c for c in candidates.ENCODINGS if c[0] != "tinycudann"]))
def build_with_table(request):
    """Makes an encoding of those that share the table of `GridTable`."""
    return lambda **shape: candidates.encoding_of(request.param, **shape)


def numbers(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def lively(grid, seed=0):
    """The grid with a table of ordinary numbers, and its device."""
    (table,) = grid.parameters()
    with torch.no_grad():
        table.copy_(numbers(*table.shape, seed=seed))
    return grid, table, table.device


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# One table, one field


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_match_float64(build_with_table, shape, features):
    grid, table, device = lively(build_with_table(features=features, **shape))
    exact = TorchHashGrid(GridShape(features=features, **shape)).double()
    exact.load_state_dict(grid.state_dict())
    points = torch.rand(200, 3, generator=seeded())
    points[0], points[1], points[2] = 0.0, 1.0, torch.tensor([0.0, 1.0, 0.5])
    points = (points * 2**11).round() / 2**11  # exact in both precisions, at every resolution tested
    weight = numbers(200, grid.width)
    ours, theirs = points.clone().to(device).requires_grad_(), points.double().requires_grad_()
    values, expected = grid(ours), exact(theirs)
    torch.testing.assert_close(values.cpu().double(), expected, rtol=1e-3, atol=2e-3)
    (values * weight.to(device)).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(table.grad.cpu().double(), exact.table.grad, rtol=1e-3, atol=5e-3)
    torch.testing.assert_close(ours.grad.cpu().double(), theirs.grad, rtol=1e-3, atol=1e-1)


def test_a_linear_table_gives_a_linear_field(build_with_table):
    grid = build_with_table(levels=1, base=8, finest=8, log2_entries=14, features=2)
    corner = torch.arange(9) / 8
    z, y, x = torch.meshgrid(corner, corner, corner, indexing="ij")
    with torch.no_grad():
        grid.table.copy_(torch.stack([x + 2 * y - z, z], -1).reshape(-1, 2))
    points = torch.rand(100, 3, generator=seeded())
    expected = torch.stack([points @ torch.tensor([1.0, 2.0, -1.0]), points[:, 2]], 1)
    torch.testing.assert_close(grid(points.to(grid.table.device)).cpu(), expected)


def test_hashed_rows_are_those_of_the_paper():
    # Instant-NGP, equation 4, in whole numbers of Python.
    grid = TorchHashGrid(GridShape(levels=1, base=1000, finest=1000, log2_entries=10, features=1))
    with torch.no_grad():
        grid.table.copy_(torch.arange(2.0**10)[:, None])
    corners = torch.randint(0, 1000, (50, 3), generator=seeded())
    expected = [(x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)) % 2**10 for x, y, z in corners.tolist()]
    torch.testing.assert_close(grid.double()(corners.double() / 1000)[:, 0], torch.tensor(expected).double())


def test_a_grid_is_sized_as_documented(build_with_table):
    grid = build_with_table(levels=16, log2_entries=12)
    assert grid.width == 32
    assert grid.resolutions[[0, -1]].tolist() == [16, 4096]
    assert len(grid.table) == 16 * 2**12


# The contract


def test_features_are_float32_and_as_many_as_promised(build):
    grid, _, device = lively(build(levels=3, features=4, log2_entries=8))
    values = grid(torch.rand(37, 3, generator=seeded()).to(device))
    assert values.dtype == torch.float32
    assert tuple(values.shape) == (37, grid.width) == (37, 12)


def test_a_grid_is_seeded_and_small(build):
    grids = [build(levels=16, log2_entries=12, generator=seeded(s)) for s in (3, 3, 4)]
    (first,), (same,), (other,) = (tuple(grid.parameters()) for grid in grids)
    assert (first == same).all()
    assert (first != other).any()
    assert 5e-5 < first.abs().max() <= 1e-4


def test_features_are_linear_in_the_table_and_so_is_the_gradient(build):
    grid, table, device = lively(build(levels=4, base=4, finest=32, log2_entries=10))
    points = torch.rand(300, 3, generator=seeded()).to(device)
    weight = numbers(300, grid.width, seed=1).to(device)
    total = (grid(points).double() * weight).sum()
    total.backward()
    # The features are a sum of rows times weights: their gradient times the table gives them back.
    assert (table.grad.double() * table.double()).sum().item() == pytest.approx(total.item(), rel=1e-3, abs=1e-2)
    change = numbers(*table.shape, seed=2).to(device)
    with torch.no_grad():
        table.add_(change)
    moved = (grid(points).double() * weight).sum() - total
    assert moved.item() == pytest.approx((table.grad.double() * change).sum().item(), rel=1e-3, abs=1e-2)


def test_every_cell_blends_its_corners(build):
    # A constant table makes a constant field: the weights of the corners sum to one.
    grid, table, device = lively(build(levels=5, base=4, finest=100, log2_entries=8))
    with torch.no_grad():
        table.fill_(1.5)
    values = grid(torch.rand(200, 3, generator=seeded()).to(device))
    torch.testing.assert_close(values, torch.full_like(values, 1.5))


def test_the_field_is_continuous_inside_the_cube(build):
    grid, _, device = lively(build(levels=3, base=4, finest=16, log2_entries=12))
    line = torch.linspace(0.05, 0.9, 20001, device=device)[:, None] * torch.tensor([1.0, 0.7, 0.4], device=device)
    # 16 cells per side, rows of ordinary size: a step of 4e-5 moves a feature by far less than 0.02.
    assert grid(line).diff(dim=0).abs().max() < 0.02


@pytest.mark.parametrize("axis", range(3))
def test_position_gradients_match_finite_differences(build, axis):
    grid, _, device = lively(build(levels=2, base=4, finest=8, log2_entries=12), seed=1)
    weight = numbers(200, grid.width).to(device)
    points = torch.rand(200, 3, generator=seeded(1)).mul(0.8).add(0.05).to(device).requires_grad_()
    (grid(points) * weight).sum().backward()
    step = torch.zeros(3, device=device)
    step[axis] = 2e-3
    ahead, here, behind = ((grid(points + k * step) * weight).sum(1) for k in (1, 0, -1))
    one_cell = (ahead + behind - 2 * here).abs() < 5e-5  # along an axis the field is straight within a cell
    assert one_cell.float().mean() > 0.8
    slope = (ahead - behind) / 4e-3
    torch.testing.assert_close(points.grad[one_cell, axis], slope[one_cell].detach(), rtol=0.02, atol=0.1)


def test_no_points_give_no_features_and_zero_gradients(build):
    grid, table, device = lively(build(levels=2, log2_entries=8))
    values = grid(torch.zeros(0, 3, device=device))
    assert values.shape == (0, 4)
    values.sum().backward()
    assert (table.grad == 0).all()


def test_the_same_points_give_the_same_features(build):
    grid, table, device = lively(build(levels=8, log2_entries=12))
    points = torch.rand(5000, 3, generator=seeded()).to(device)
    gradients = []
    for _ in range(2):
        table.grad = None
        values = grid(points)
        assert (values == grid(points)).all()
        values.square().sum().backward()
        gradients.append(table.grad)
    # A GPU adds gradients in no fixed order.
    same = {"rtol": 0, "atol": 0} if device.type == "cpu" else {"rtol": 1e-3, "atol": 1e-2}
    torch.testing.assert_close(*gradients, **same)


def test_a_stored_grid_comes_back(build):
    shape = {"levels": 3, "log2_entries": 9, "base": 8, "finest": 64}
    grid, _, device = lively(build(**shape))
    again = build(**shape)
    again.load_state_dict(grid.state_dict())
    points = torch.rand(50, 3, generator=seeded()).to(device)
    assert (again(points) == grid(points)).all()


@pytest.mark.gpu
def test_warp_gives_the_same_features_and_gradients_on_both_devices():
    results = []
    for device in ("cpu", "cuda"):
        # A point's place in its cell is rounded by the cells per side times 6e-8, one way on each device: few cells.
        shape = {"levels": 4, "log2_entries": 12, "base": 4, "finest": 32}
        grid = candidates.encoding_of(("warp", device), **shape, generator=seeded())
        points = torch.rand(500, 3, generator=seeded(1)).to(device).requires_grad_()
        features = grid(points)
        (features * 1e4).square().sum().backward()
        results.append([tensor.detach().cpu() for tensor in (features, grid.table.grad, points.grad)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        # What many points add to a cell cancels, so that the size of what is summed counts, not of the sum.
        torch.testing.assert_close(on_cpu, on_gpu, rtol=1e-3, atol=1e-2 + 4e-6 * float(on_cpu.abs().max()))
