import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.avatar.light import NeuralLight


@settings(max_examples=20, deadline=None)
@given(st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_light_is_never_darker_than_its_floor(bias: float, seed: int):
    torch.manual_seed(seed)
    light = NeuralLight(width=16, depth=2, floor=0.01)
    with torch.no_grad():
        light.network[-1].bias.fill_(bias)
    normal = torch.nn.functional.normalize(torch.randn(64, 3), dim=1)
    assert (light.diffuse(normal) >= 0.01).all()
    assert light.diffuse(normal).isfinite().all()


def test_light_that_starts_almost_black_recovers():
    torch.manual_seed(0)
    light = NeuralLight(width=16, depth=2, floor=0.01)
    with torch.no_grad():
        light.network[-1].bias.fill_(-6.0)
    optimiser = torch.optim.Adam(light.parameters(), lr=1e-2)
    normal = torch.nn.functional.normalize(torch.randn(256, 3), dim=1)
    for _ in range(1500):
        loss = (light.diffuse(normal) - 0.8).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3


def test_new_light_is_white_and_of_radiance_one():
    torch.manual_seed(0)
    light = NeuralLight(width=64, depth=2, floor=0.01)
    normal = torch.nn.functional.normalize(torch.randn(256, 3), dim=1)
    assert (light.diffuse(normal) - 1).abs().max() < 0.1


def test_diffuse_light_is_the_network_at_roughness_one():
    torch.manual_seed(0)
    light = NeuralLight(width=64, depth=2, floor=0.01)
    for layer in light.network:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.3)  # far rougher than any fitted light
    normal = torch.nn.functional.normalize(torch.randn(2000, 3), dim=1)
    exact = light.specular(normal, torch.ones(2000, 1))
    assert exact.std(0).min() > 0.03
    torch.testing.assert_close(light.diffuse(normal), exact, rtol=2e-3, atol=2e-3)
