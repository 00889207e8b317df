import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.avatar.light import ExplicitLight, NeuralLight
from flare_cli.render.light.environment import EnvironmentLight, prefilter
from flare_cli.render.light.samples import LightSamples
from flare_cli.render.light.sphere import even_directions


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
        if loss < 1e-3:
            break
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


def test_new_explicit_light_is_white_and_of_radiance_one():
    light = ExplicitLight(directions=128, device=torch.device("cpu"))
    normal = torch.nn.functional.normalize(torch.randn(50, 3), dim=1)
    torch.testing.assert_close(light.diffuse(normal), torch.ones(50, 3), rtol=0, atol=0.01)
    torch.testing.assert_close(light.specular(normal, torch.rand(50, 1)), torch.ones(50, 3))
    assert (light.samples().radiance == 1).all()


def test_explicit_light_finds_a_lamp():
    torch.manual_seed(0)
    light, normal = ExplicitLight(directions=64, device=torch.device("cpu")), even_directions(400)
    lamp = normal[[57]]
    optimiser = torch.optim.Adam(light.parameters(), lr=5e-2)
    for _ in range(400):
        loss = (light.diffuse(normal) - 3 * (normal @ lamp.T).clamp(min=0)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    samples = light.samples()
    mean = torch.nn.functional.normalize((samples.flux().sum(1, keepdim=True) * samples.direction).sum(0), dim=0)
    assert loss < 1e-2
    assert (mean @ lamp[0]).item() > 0.995


def test_other_lights_come_in_the_form_that_the_avatar_was_fitted_with():
    envmap = torch.rand(16, 32, 3)
    assert isinstance(ExplicitLight(directions=16, device=torch.device("cpu")).of_environment(envmap), LightSamples)
    assert isinstance(NeuralLight(width=8, depth=1, floor=0.01).of_environment(envmap), EnvironmentLight)


@pytest.mark.parametrize("explicit", [False, True])
def test_a_light_as_a_map_lights_as_the_light_does(explicit: bool):
    torch.manual_seed(0)
    light = (
        ExplicitLight(directions=256, device=torch.device("cpu"))
        if explicit
        else NeuralLight(width=16, depth=2, floor=0.01)
    )
    if isinstance(light, ExplicitLight):
        torch.nn.init.normal_(light.coarse, std=0.3)
    envmap, direction = light.to_map(48).detach(), even_directions(50)
    assert envmap.shape == (48, 96, 3)
    mirrored = prefilter(envmap).radiance(direction)
    torch.testing.assert_close(mirrored, light.specular(direction, torch.zeros(50, 1)).detach(), rtol=0.1, atol=0.05)
