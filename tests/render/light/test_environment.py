import math

import pytest
import torch

from flare_cli.render.light.environment import prefilter, solid_angles


def directions(rows):
    """Unit directions of texel centres, by docs/conventions.md."""
    theta = (torch.arange(rows)[:, None] + 0.5) / rows * math.pi
    phi = ((torch.arange(2 * rows) + 0.5) / (2 * rows) - 0.5) * 2 * math.pi
    return torch.stack(
        [torch.sin(theta) * torch.sin(phi), torch.cos(theta) + 0 * phi, -torch.sin(theta) * torch.cos(phi)], -1
    )


def random_directions(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)


@pytest.fixture
def soft():
    """A smooth environment, so that quadratures agree closely."""
    x, y, z = directions(64).unbind(-1)
    return torch.stack([1 + 0.8 * x, 1 + 0.5 * y * z, (1.2 + y) ** 2], -1)


@pytest.fixture
def lamp():
    """One bright texel of a dark environment, and the direction to it."""
    envmap = torch.zeros(64, 128, 3)
    envmap[20, 90] = 100.0
    return envmap, directions(64)[20, 90]


def ggx_average(envmap, direction, roughness):
    """Importance-sampled twin: mean radiance over GGX half vectors about n = v = direction, weighted by n.l."""
    generator = torch.Generator().manual_seed(1)
    u, turn = torch.rand(2, 60_000, generator=generator)
    cosine = ((1 - u) / (1 + (roughness**4 - 1) * u)).sqrt()
    sine = (1 - cosine**2).sqrt()
    helper = torch.tensor([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
    side = torch.nn.functional.normalize(torch.linalg.cross(helper, direction), dim=0)
    up = torch.linalg.cross(direction, side)
    turn = turn[:, None] * 2 * math.pi
    half = sine[:, None] * (torch.cos(turn) * side + torch.sin(turn) * up) + cosine[:, None] * direction
    to_light = 2 * (half @ direction)[:, None] * half - direction
    weight = (to_light @ direction).clamp(min=0)
    theta, phi = torch.acos(to_light[:, 1].clamp(-1, 1)), torch.atan2(to_light[:, 0], -to_light[:, 2])
    rows = envmap.shape[0]
    row = (theta / math.pi * rows).long().clamp(max=rows - 1)
    column = ((phi / (2 * math.pi) + 0.5) * 2 * rows).long() % (2 * rows)
    return (envmap[row, column] * weight[:, None]).sum(0) / weight.sum()


def test_axes_are_those_of_the_conventions():
    towards = directions(64)
    assert towards[0, :, 1].min() > 0.99  # row 0 is up
    assert towards[32, 64] @ torch.tensor([0.0, 0.0, -1.0]) > 0.99  # the centre looks along -z
    assert towards[32, 96] @ torch.tensor([1.0, 0.0, 0.0]) > 0.99  # the right half is +x
    assert (solid_angles(64) * 128).sum() == pytest.approx(4 * math.pi, rel=1e-5)


def test_a_constant_environment_stays_constant():
    light = prefilter(torch.full((32, 64, 3), 2.5))
    where = random_directions(200)
    for roughness in (0.0, 0.05, 0.3, 1.0):
        seen = light.specular(where, torch.full((200, 1), roughness))
        torch.testing.assert_close(seen, torch.full_like(seen, 2.5))
    torch.testing.assert_close(light.diffuse(where), torch.full((200, 3), 2.5))
    torch.testing.assert_close(light.radiance(where), torch.full((200, 3), 2.5))


def test_background_lookup_returns_the_picture(soft):
    light = prefilter(soft)
    seen = light.radiance(directions(64).view(-1, 3))
    torch.testing.assert_close(seen, soft.view(-1, 3), rtol=1e-3, atol=1e-3)


def test_lookup_is_continuous_over_seam_and_poles(soft):
    light = prefilter(soft)
    step = 1e-3
    for a, b in (
        ([step, 0.2, 1.0], [-step, 0.2, 1.0]),  # the vertical seam is at +z
        ([step, 1.0, 0.0], [-step, 1.0, 0.0]),
        ([0.0, -1.0, step], [0.0, -1.0, -step]),
    ):
        ends = torch.nn.functional.normalize(torch.tensor([a, b]), dim=-1)
        values = light.radiance(ends)
        assert (values[0] - values[1]).abs().max() < 0.02


def test_a_lamp_gives_a_cosine_lobe(lamp):
    envmap, towards = lamp
    light, normals = prefilter(envmap), random_directions(500)
    flux = 100.0 * solid_angles(64)[20] / math.pi
    expected = flux * (normals @ towards).clamp(min=0)
    torch.testing.assert_close(light.diffuse(normals)[:, 0], expected, rtol=0, atol=0.04 * flux)


@pytest.mark.parametrize("roughness", [0.2, 0.35, 0.5, 0.7, 1.0])
def test_specular_light_matches_ggx_sampling(soft, roughness):
    light = prefilter(soft)
    for direction in random_directions(4, seed=2):
        seen = light.specular(direction[None], torch.tensor([[roughness]]))[0]
        torch.testing.assert_close(seen, ggx_average(soft, direction, roughness), rtol=0.02, atol=0.01)


def test_a_rougher_lamp_is_dimmer_and_wider(lamp):
    envmap, towards = lamp
    light = prefilter(envmap)
    peaks = [light.specular(towards[None], torch.tensor([[r]]))[0, 0].item() for r in (0.0, 0.1, 0.2, 0.27, 0.5, 1.0)]
    assert peaks == sorted(peaks, reverse=True)
    # At the centre of the lobe, the share of a small lamp is its solid angle times the lobe's density.
    cosine = torch.linspace(0, 1, 20001)
    lobe = cosine / ((0.5 * (1 + cosine)) * (0.5**4 - 1) + 1) ** 2
    density = lobe[-1] / (2 * math.pi * lobe.mean())
    expected = 100 * solid_angles(64)[20] * density
    assert peaks[4] == pytest.approx(expected.item(), rel=0.05)


def test_rotating_the_light_turns_everything_with_it(soft):
    light, where, roughness = prefilter(soft), random_directions(100), torch.full((100, 1), 0.4)
    yaw = 0.7
    turn = torch.tensor([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    turned, rotated = where @ turn.T, light.rotate(0.3).rotate(yaw - 0.3)
    torch.testing.assert_close(rotated.diffuse(turned), light.diffuse(where), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        rotated.specular(turned, roughness), light.specular(where, roughness), rtol=1e-3, atol=1e-4
    )
    # Rotating by a whole column is the same as rolling the picture: +y turns +z toward +x.
    one_column = prefilter(soft.roll(-1, 1)).radiance(where)
    torch.testing.assert_close(light.rotate(2 * math.pi / 128).radiance(where), one_column, rtol=1e-3, atol=1e-3)


def test_exposure_scales_all_light(soft):
    light, where = prefilter(soft), random_directions(10)
    brighter = light.scale(2.0).scale(1.5)
    torch.testing.assert_close(brighter.diffuse(where), 3 * light.diffuse(where))
    torch.testing.assert_close(brighter.radiance(where), 3 * light.radiance(where))


def test_gradients_reach_roughness_and_direction_even_at_the_poles(soft):
    where = torch.cat([random_directions(20), torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])]).requires_grad_()
    roughness = torch.full((22, 1), 0.3, requires_grad=True)
    light = prefilter(soft)
    (light.specular(where, roughness).sum() + light.diffuse(where).sum()).backward()
    assert where.grad.isfinite().all()
    assert roughness.grad.abs().sum() > 0


def test_a_large_map_is_cut_to_512_rows_and_a_tiny_one_works():
    assert prefilter(torch.ones(600, 1200, 3)).specular_maps[0].shape == (3, 514, 1026)
    assert prefilter(torch.ones(2, 4, 3)).diffuse(random_directions(3)).allclose(torch.ones(3, 3))
