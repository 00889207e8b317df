import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_cli.render.light.environment import prefilter
from flare_cli.render.light.samples import even_samples, map_directions, sample_environment, sum_light
from flare_cli.render.light.shading import integrate_brdf, shade
from flare_cli.render.light.sphere import ONE, even_directions, harmonics


def surface(n, seed=0, least_n_dot_v=0.05):
    """Unit normals and views on one side, roughness and f0."""
    generator = torch.Generator().manual_seed(seed)
    normal, view = (torch.nn.functional.normalize(torch.randn(2 * n, 3, generator=generator), dim=1) for _ in range(2))
    view = torch.where((normal * view).sum(1, keepdim=True) < 0, -view, view)
    kept = torch.nonzero((normal * view).sum(1) > least_n_dot_v)[:n, 0]
    return (
        normal[kept],
        view[kept],
        0.1 + 0.9 * torch.rand(n, 1, generator=generator),
        0.1 * torch.rand(n, 1, generator=generator),
    )


def twin(light, radiance, normal, view, roughness, f0, visibility):
    """The specification: glTF's BRDF by its half vectors, in plain torch."""
    direction, spread = light.direction.to(normal), light.spread.to(normal)
    half = view[:, None] + direction
    length = half.norm(dim=-1)
    half = half / length[..., None]
    n_dot_h, v_dot_h = (normal[:, None] * half).sum(-1), (view[:, None] * half).sum(-1)
    n_dot_l, n_dot_v = (normal @ direction.T).clamp(min=0), (normal * view).sum(-1, keepdim=True)
    alpha2, wide = roughness**4, roughness**4 + spread / length
    distribution = wide / (math.pi * (n_dot_h**2 * (wide - 1) + 1) ** 2)
    masked = 0.5 / (
        n_dot_l * (n_dot_v**2 * (1 - alpha2) + alpha2).sqrt() + n_dot_v * (n_dot_l**2 * (1 - alpha2) + alpha2).sqrt()
    )
    fresnel = f0 + (1 - f0) * (1 - v_dot_h) ** 5
    arriving = n_dot_l
    if visibility is not None:
        seen = (visibility @ light.basis.to(normal).T).clamp(0, 1)
        arriving = n_dot_l * seen**2 * (3 - 2 * seen)
    flux = radiance * light.solid_angle.to(normal)
    return arriving @ flux / math.pi, (arriving * distribution * masked * fresnel) @ flux


def shadows(n):
    visibility = 0.5 * torch.randn(n, 9, generator=torch.Generator().manual_seed(9))
    visibility[:, 0] += 1.5
    return visibility


@pytest.mark.parametrize("shadowed", [False, True])
def test_the_sum_and_its_gradients_match_the_twin(shadowed):
    n, light = 600, even_samples(48)
    generator = torch.Generator().manual_seed(1)
    inputs = [2 * torch.rand(48, 3, generator=generator), *surface(n)]
    weights, visibility = torch.randn(2, n, 3, generator=generator), shadows(n) if shadowed else None
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [values.to(dtype).requires_grad_() for values in inputs]
        seen = None if visibility is None else visibility.to(dtype)
        if dtype == torch.float32:
            sums = sum_light(replace(light, radiance=leaves[0]), *leaves[1:], seen)[:2]
        else:
            sums = twin(light, *leaves, seen)
        grads = list(
            torch.autograd.grad(sum((s * w.to(dtype)).sum() for s, w in zip(sums, weights, strict=True)), leaves)
        )
        view, along = leaves[2].detach(), 2  # views are unit: what lengthens them does not count
        grads[along] = grads[along] - (grads[along] * view).sum(1, keepdim=True) * view
        results.append([values.detach().double() for values in (*sums, *grads)])
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-4 * exact.abs().max().item())


def test_white_light_is_one_on_a_matte_surface():
    for n, error in ((64, 0.02), (256, 0.004), (1024, 0.001)):
        diffuse, *_ = sum_light(even_samples(n), *surface(500))
        torch.testing.assert_close(diffuse, torch.ones_like(diffuse), rtol=0, atol=error)


@pytest.mark.parametrize(("roughness", "error"), [(0.5, 0.03), (0.7, 0.01), (1.0, 0.01)])
def test_white_light_shows_the_closed_form_of_the_brdf(roughness, error):
    normal, view, rough, f0 = surface(500, least_n_dot_v=0.3)
    rough, f0 = torch.full_like(rough, roughness), torch.full_like(f0, 0.04)
    _, reflected, _ = sum_light(even_samples(512), normal, view, rough, f0)
    scale, bias = integrate_brdf((normal * view).sum(1).numpy(), roughness)
    closed = torch.from_numpy(0.04 * scale + bias).float()
    assert (reflected[:, 0] / closed - 1).square().mean().sqrt() < error


def test_a_surface_reflects_little_more_than_it_receives():
    normal, view, rough, f0 = surface(3000, least_n_dot_v=0.0)
    for roughness, most in ((0.1, 1.1), (0.3, 1.01), (0.6, 1.0), (1.0, 1.0)):  # 0.1 is far narrower than a direction
        _, reflected, _ = sum_light(even_samples(256), normal, view, torch.full_like(rough, roughness), f0 * 0 + 1)
        assert reflected.mean() < most


def test_shading_is_the_sums_times_the_material():
    normal, view, roughness, f0 = surface(100)
    albedo, specular = torch.rand(100, 3), torch.rand(100, 1)
    light = replace(even_samples(32), radiance=torch.rand(32, 3))
    shaded = shade(albedo, roughness, specular, normal, view, light, f0, shadows(100))
    diffuse, reflected, openness = sum_light(light, normal, view, roughness, f0, shadows(100))
    bounced = diffuse / (1 - albedo * (1 - openness)).clamp(min=0.2)
    torch.testing.assert_close(shaded.colour, albedo * bounced + specular * reflected)


def test_openness_is_nearly_what_arrives_of_white_light_where_half_is_seen():
    """There the smooth step is straight: half as steep again as what openness takes."""
    normal, view, roughness, f0 = surface(200)
    visibility = 0.1 * torch.randn(200, 9, generator=torch.Generator().manual_seed(2))
    visibility[:, 0] += 0.5 * ONE
    diffuse, _, openness = sum_light(even_samples(2048), normal, view, roughness, f0, visibility)
    torch.testing.assert_close(1.5 * openness - 0.25, diffuse[:, :1], rtol=0, atol=1e-2)


def test_all_seen_is_no_shadow_and_padding_is_black_with_finite_gradients():
    points = [t.requires_grad_() for t in surface(50)]
    light = even_samples(32)
    everything = torch.zeros(50, 9)
    everything[:, 0] = ONE
    torch.testing.assert_close(sum_light(light, *points, everything), sum_light(light, *points))
    padding = [torch.zeros(3, n, requires_grad=True) for n in (3, 3, 1, 1)]
    diffuse, reflected, _ = sum_light(light, *padding, torch.zeros(3, 9))
    grads = torch.autograd.grad((diffuse + reflected).sum(), padding)
    assert not diffuse.any()
    assert not reflected.any()
    assert all(grad.isfinite().all() for grad in grads)


def test_an_empty_picture_is_shaded_and_has_gradients():
    light = replace(even_samples(32), radiance=torch.ones(32, 3, requires_grad=True))
    points = [torch.zeros(0, n, requires_grad=True) for n in (3, 3, 1, 1)]
    diffuse, reflected, _ = sum_light(light, *points)
    (diffuse.sum() + reflected.sum()).backward()
    assert not light.radiance.grad.any()


@pytest.fixture(scope="module")
def soft() -> torch.Tensor:
    """A smooth map: brighter above and to the left."""
    looking = map_directions(64)
    return (1 + 0.7 * looking[..., 1:2] - 0.4 * looking[..., :1]) * torch.tensor([1.0, 0.8, 0.6])


def test_a_map_becomes_directions_with_the_same_irradiance(soft):
    normals = even_directions(100)
    exact = (1 + 0.7 * 2 / 3 * normals[:, 1:2] - 0.4 * 2 / 3 * normals[:, :1]) * torch.tensor([1.0, 0.8, 0.6])
    torch.testing.assert_close(sample_environment(soft, 256).diffuse(normals), exact, rtol=0.01, atol=0.01)


def test_the_flux_of_a_map_is_kept():
    envmap = torch.rand(40, 80, 3, generator=torch.Generator().manual_seed(0)) ** 8
    flux = sample_environment(envmap, 100).flux().sum(0)
    theta = torch.linspace(0, math.pi, 41).cos()
    exact = (envmap * ((theta[:-1] - theta[1:]) * 2 * math.pi / 80)[:, None, None]).sum((0, 1))
    torch.testing.assert_close(flux, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("texel", [(20, 17), (3, 100), (50, 64)])
def test_a_lamp_of_one_texel_keeps_its_place_and_its_sharp_highlight(texel):
    envmap = torch.full((64, 128, 3), 0.1)
    envmap[texel] = 200_000.0
    lamp = map_directions(64)[texel]
    light = sample_environment(envmap, 128)
    brightest = light.flux().sum(1).argmax()
    assert (light.direction[brightest] @ lamp).item() > math.cos(math.radians(0.5))
    assert light.spread[brightest] < 1e-3
    # It lights what faces it and nothing that is turned away, to within a degree: the edge of a shadow.
    across = torch.nn.functional.normalize(torch.linalg.cross(lamp, torch.tensor([0.3, 0.5, 0.8])), dim=0)
    for degrees, is_lit in ((89.0, True), (91.0, False)):
        normal = math.cos(math.radians(degrees)) * lamp + math.sin(math.radians(degrees)) * across
        assert (light.diffuse(normal[None]).sum() > 1) == is_lit


def test_a_white_map_is_white_light():
    light = sample_environment(torch.ones(128, 256, 3), 256)
    torch.testing.assert_close(light.radiance, torch.ones(256, 3))
    torch.testing.assert_close(light.spread, light.solid_angle[:, 0] / (2 * math.pi), rtol=0.3, atol=0)


def test_lobes_of_a_map_agree_with_prefiltered_ones(soft):
    mirror, roughness = even_directions(200), torch.full((200, 1), 0.6)
    ours, theirs = (light.specular(mirror, roughness) for light in (sample_environment(soft, 512), prefilter(soft)))
    torch.testing.assert_close(ours, theirs, rtol=0.03, atol=0.02)


def test_a_light_can_be_written_as_a_map_and_read_again():
    light = even_samples(128)
    light = replace(light, radiance=1 + 0.5 * harmonics(light.direction)[:, 1:4])
    again = sample_environment(light.to_map(64), 512)
    normals = even_directions(100)
    torch.testing.assert_close(again.diffuse(normals), light.diffuse(normals), rtol=0.01, atol=0.01)


def test_turning_and_scaling_a_light_turns_and_scales_what_it_lights(soft):
    light, normals = sample_environment(soft, 256), even_directions(50)
    turned = light.rotate(math.pi / 2).scale(2)
    # Counter-clockwise from above: what came from +z comes from +x.
    back = torch.stack([-normals[:, 2], normals[:, 1], normals[:, 0]], 1)
    torch.testing.assert_close(turned.diffuse(normals), 2 * light.diffuse(back), rtol=1e-4, atol=1e-4)
    prefiltered = prefilter(soft).rotate(math.pi / 2).scale(2)
    torch.testing.assert_close(turned.diffuse(normals), prefiltered.diffuse(normals), rtol=0.02, atol=0.02)
    assert np.isfinite(turned.basis.numpy()).all()
