import pytest
import torch

from flare_cli.errors import BackendError
from flare_cli.render.backend import choose_encoding
from flare_cli.render.hash_grid import HashGrid


def twin(points, table, *, levels, log2_entries, base, finest):
    """The specification, in float64 torch."""
    features, first = [], 0
    for level in range(levels):
        resolution = int(base * (finest / base) ** (level / max(levels - 1, 1)) + 1e-6)
        scaled = points * resolution
        corner = scaled.detach().floor().clamp(0, resolution - 1)
        fraction, total = scaled - corner, 0
        size = min((resolution + 1) ** 3, 2**log2_entries)
        for offset in torch.cartesian_prod(*[torch.arange(2)] * 3):
            x, y, z = (corner.long() + offset).unbind(-1)
            if (resolution + 1) ** 3 <= 2**log2_entries:
                row = x + (resolution + 1) * (y + (resolution + 1) * z)
            else:
                row = (x ^ (y * 2654435761) % 2**32 ^ (z * 805459861) % 2**32) % size
            weight = torch.where(offset.bool(), fraction, 1 - fraction).prod(-1, keepdim=True)
            total = total + weight * table[first + row]
        features.append(total)
        first += size
    return torch.cat(features, 1)


SHAPES = [
    {"levels": 4, "log2_entries": 9, "base": 4, "finest": 64},  # two dense levels, two hashed
    {"levels": 1, "log2_entries": 14, "base": 16, "finest": 16},
    {"levels": 3, "log2_entries": 6, "base": 100, "finest": 5000},
]


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_match_the_twin(shape, features):
    generator = torch.Generator().manual_seed(0)
    grid = HashGrid(features=features, generator=generator, **shape)
    with torch.no_grad():
        grid.table.copy_(torch.randn(grid.table.shape, generator=generator))
    points = torch.rand(200, 3, generator=generator)
    points[0], points[1], points[2] = 0.0, 1.0, torch.tensor([0.0, 1.0, 0.5])
    points = (points * 2**11).round() / 2**11  # exact in both precisions, at every resolution tested
    weight = torch.randn(200, grid.width, generator=generator)
    ours, theirs = points.clone().requires_grad_(), points.double().requires_grad_()
    table = grid.table.detach().double().requires_grad_()
    values, expected = grid(ours), twin(theirs, table, **shape)
    torch.testing.assert_close(values.double(), expected, rtol=1e-3, atol=2e-3)
    (values * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(grid.table.grad.double(), table.grad, rtol=1e-3, atol=5e-3)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-1)


def test_position_gradients_match_finite_differences():
    generator = torch.Generator().manual_seed(1)
    grid = HashGrid(levels=2, base=4, finest=8, log2_entries=12, generator=generator)
    with torch.no_grad():
        grid.table.copy_(torch.randn(grid.table.shape, generator=generator))
    points = ((torch.randint(0, 8, (50, 3), generator=generator) + 0.5) / 8).requires_grad_()  # amid all cells
    grid(points).square().sum().backward()
    for axis in range(3):
        step = torch.zeros(3)
        step[axis] = 1e-2
        slope = (grid(points + step).square().sum(1) - grid(points - step).square().sum(1)) / 2e-2
        torch.testing.assert_close(points.grad[:, axis], slope.detach(), rtol=0.02, atol=0.05)


def test_a_linear_table_gives_a_linear_field():
    grid = HashGrid(levels=1, base=8, finest=8, log2_entries=14, features=2)
    corner = torch.arange(9) / 8
    z, y, x = torch.meshgrid(corner, corner, corner, indexing="ij")
    with torch.no_grad():
        grid.table.copy_(torch.stack([x + 2 * y - z, z], -1).reshape(-1, 2))
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([points @ torch.tensor([1.0, 2.0, -1.0]), points[:, 2]], 1)
    torch.testing.assert_close(grid(points), expected)


def test_a_grid_is_seeded_small_and_sized_as_documented():
    grids = [HashGrid(levels=16, log2_entries=12, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert (grids[0].table == grids[1].table).all()
    assert 5e-5 < grids[0].table.abs().max() <= 1e-4
    assert grids[0].width == 32
    assert grids[0].resolutions[[0, -1]].tolist() == [16, 4096]
    assert len(grids[0].table) == 16 * 2**12


def test_no_points_give_no_features_and_zero_gradients():
    grid = HashGrid(levels=2, log2_entries=8)
    grid(torch.zeros(0, 3)).sum().backward()
    assert (grid.table.grad == 0).all()


@pytest.mark.parametrize("name", ["tinycudann", "fourier"])
def test_an_encoding_that_is_not_here_is_refused(name):
    with pytest.raises(BackendError) as refusal:
        choose_encoding(name)
    assert name in refusal.value.message


def test_the_chosen_encoding_is_a_hash_grid_of_that_shape():
    assert choose_encoding("auto", levels=3, features=4, log2_entries=8).width == 12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_features_and_gradients_of_the_cpu():
    results = []
    for device in ("cpu", "cuda"):
        grid = HashGrid(levels=8, log2_entries=12, generator=torch.Generator().manual_seed(0)).to(device)
        points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
        features = grid(points)
        (features * 1e4).square().sum().backward()
        results.append([tensor.detach().cpu() for tensor in (features, grid.table.grad, points.grad)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-2)
