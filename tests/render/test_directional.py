import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from flare_cli.render.directional import DEGREES, ENCODING_WIDTH, directional_encoding


@pytest.fixture
def directions():
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_a_mirror_gets_spherical_harmonics(directions):
    x, y, z = directions.numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    expected = np.stack([sph_harm_y(n, m, theta, phi) for n in DEGREES for m in range(n + 1)], 1)
    encoding = directional_encoding(directions, torch.zeros(50, 1, dtype=torch.float64)).numpy()
    assert encoding.shape == (50, ENCODING_WIDTH) == (50, 38)
    np.testing.assert_allclose(encoding, np.concatenate([expected.real, expected.imag], 1), atol=1e-12)


def test_roughness_fades_each_degree_by_its_eigenvalue(directions):
    sharp = directional_encoding(directions, torch.zeros(50, 1, dtype=torch.float64))
    rough = directional_encoding(directions, torch.full((50, 1), 0.5, dtype=torch.float64))
    degrees = torch.tensor([n for n in DEGREES for _ in range(n + 1)] * 2, dtype=torch.float64)
    torch.testing.assert_close(rough, sharp * torch.exp(-0.25 * degrees * (degrees + 1)))


def test_gradients_are_right_everywhere_even_at_the_poles():
    axes = torch.eye(3, dtype=torch.float64).requires_grad_()
    roughness = torch.full((3, 1), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(directional_encoding, (axes, roughness))
