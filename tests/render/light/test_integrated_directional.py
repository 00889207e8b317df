import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from flare_cli.render.kernels.directional import DEGREES
from flare_cli.render.light.integrated_directional import ENCODING_WIDTH, directional_encoding


@pytest.fixture
def directions():
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(50, 3, generator=generator), dim=-1)


def twin(direction: torch.Tensor, roughness: torch.Tensor) -> torch.Tensor:
    """The specification in float64: harmonics as polynomials in z times powers of x + iy, by Legendre's recurrence."""
    x, y, z = direction.double().unbind(-1)
    around = torch.complex(x, y)
    columns = []
    for degree in DEGREES:
        fade = torch.exp(-0.5 * degree * (degree + 1) * roughness.double()[:, 0])
        for order in range(degree + 1):
            norm = np.sqrt(
                (2 * degree + 1) / (4 * np.pi) / np.prod(np.arange(degree - order + 1, degree + order + 1.0))
            )
            before, here = (
                torch.zeros_like(z),
                (-1) ** order * np.prod(np.arange(1, 2 * order, 2.0)) * torch.ones_like(z),
            )
            for n in range(order + 1, degree + 1):
                before, here = here, ((2 * n - 1) * z * here - (n + order - 1) * before) / (n - order)
            columns.append(norm * fade * here * around**order)
    stacked = torch.stack(columns, 1)
    return torch.cat([stacked.real, stacked.imag], 1)


def test_a_mirror_gets_spherical_harmonics(directions):
    x, y, z = directions.double().numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    expected = np.stack([sph_harm_y(n, m, theta, phi) for n in DEGREES for m in range(n + 1)], 1)
    encoding = directional_encoding(directions, torch.zeros(50, 1)).numpy()
    assert encoding.shape == (50, ENCODING_WIDTH) == (50, 38)
    np.testing.assert_allclose(encoding, np.concatenate([expected.real, expected.imag], 1), atol=1e-5)


def test_roughness_fades_each_degree_by_its_eigenvalue(directions):
    sharp = directional_encoding(directions, torch.zeros(50, 1))
    rough = directional_encoding(directions, torch.full((50, 1), 0.5))
    degrees = torch.tensor([n for n in DEGREES for _ in range(n + 1)] * 2)
    torch.testing.assert_close(rough, sharp * torch.exp(-0.25 * degrees * (degrees + 1)))


def test_values_and_gradients_match_the_twin_even_at_the_poles(directions):
    generator = torch.Generator().manual_seed(1)
    directions = torch.cat([directions, torch.eye(3), -torch.eye(3)])
    roughness = torch.rand(len(directions), 1, generator=generator)
    weight = torch.randn(len(directions), ENCODING_WIDTH, generator=generator)
    results = []
    for encode, dtype in ((directional_encoding, torch.float32), (twin, torch.float64)):
        inputs = [t.detach().clone().to(dtype).requires_grad_() for t in (directions, roughness)]
        values = encode(*inputs)
        (values * weight).sum().backward()
        results.append([t.detach().double() for t in (values, *(i.grad for i in inputs))])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
