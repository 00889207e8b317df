import math

import numpy as np
import pytest
import torch

from flare_cli.render.light.shading import (
    MIN_N_DOT_V,
    MIN_ROUGHNESS,
    facing_normal_and_view,
    integrate_brdf,
    mirrored,
    shade,
)


class WhiteLight:
    def diffuse(self, normal):
        return torch.ones_like(normal)

    def specular(self, direction, roughness):
        return torch.ones_like(direction)


def brdf_scale_and_bias(n_dot_v, roughness):
    """What white light shows of a surface with f0 = 0, and what f0 = 1 adds to it."""
    zero, one = torch.zeros_like(n_dot_v), torch.ones_like(n_dot_v)
    normal, view = torch.cat([zero, zero, one], 1), torch.cat([(1 - n_dot_v**2).sqrt(), zero, n_dot_v], 1)
    bias, both = (shade(normal * 0, roughness, one, normal, view, WhiteLight(), f0).colour[:, :1] for f0 in (0.0, 1.0))
    return both - bias, bias


def points(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    view = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    view = torch.where((normal * view).sum(1, keepdim=True) < 0, -view, view)
    return normal, view, torch.rand(n, 3, generator=generator), torch.rand(n, 1, generator=generator)


@pytest.mark.parametrize(("roughness", "n_dot_v"), [(0.3, 0.5), (0.5, 0.2), (0.5, 0.9), (0.8, 0.7), (1.0, 1.0)])
def test_the_table_matches_monte_carlo_over_the_hemisphere(roughness, n_dot_v):
    z, turn = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(2**18, dtype=torch.float64).T
    turn = turn * 2 * math.pi
    to_light = torch.stack([(1 - z**2).sqrt() * turn.cos(), (1 - z**2).sqrt() * turn.sin(), z], 1)
    to_eye = torch.tensor([math.sqrt(1 - n_dot_v**2), 0.0, n_dot_v], dtype=torch.float64)
    half = torch.nn.functional.normalize(to_light + to_eye, dim=1)
    alpha2 = roughness**4
    distribution = alpha2 / (math.pi * (half[:, 2] ** 2 * (alpha2 - 1) + 1) ** 2)
    visibility = 0.5 / (
        z * math.sqrt(n_dot_v**2 * (1 - alpha2) + alpha2) + n_dot_v * (z**2 * (1 - alpha2) + alpha2).sqrt()
    )
    reflected = distribution * visibility * z * 2 * math.pi
    fresnel = (1 - half @ to_eye) ** 5
    scale, bias = brdf_scale_and_bias(torch.tensor([[n_dot_v]]), torch.tensor([[roughness]]))
    assert scale.item() == pytest.approx(((1 - fresnel) * reflected).mean().item(), abs=4e-3)
    assert bias.item() == pytest.approx((fresnel * reflected).mean().item(), abs=2e-3)


def test_a_smooth_mirror_follows_fresnel():
    n_dot_v = torch.linspace(0.2, 1, 50)[:, None]
    scale, bias = brdf_scale_and_bias(n_dot_v, torch.zeros_like(n_dot_v))
    torch.testing.assert_close(scale + bias, torch.ones_like(scale), rtol=0, atol=2e-3)
    torch.testing.assert_close(bias, (1 - n_dot_v) ** 5, rtol=0, atol=1e-2)


def test_a_surface_never_reflects_more_than_it_receives():
    for roughness in (0.05, 0.3, 0.6, 1.0):
        scale, bias = integrate_brdf(np.linspace(0.01, 1, 64), roughness)
        assert (scale + bias).max() <= 1.001
        assert min(scale.min(), bias.min()) >= 0


def test_the_table_has_gradients_in_both_directions():
    n_dot_v, roughness = torch.tensor([[0.52]], requires_grad=True), torch.tensor([[0.613]], requires_grad=True)
    scale, _ = brdf_scale_and_bias(n_dot_v, roughness)
    scale.backward()
    middle = np.array([0.52])
    slope = (integrate_brdf(middle, 0.64)[0] - integrate_brdf(middle, 0.59)[0]) / 0.05
    assert roughness.grad.item() == pytest.approx(slope.item(), rel=0.05)
    assert n_dot_v.grad.item() != 0


def test_white_light_shows_albedo_plus_reflectance():
    normal, view, albedo, roughness = points(100)
    specular = torch.full_like(roughness, 0.7)
    shaded = shade(albedo, roughness, specular, normal, view, WhiteLight(), 0.04)
    scale, bias = brdf_scale_and_bias((normal * view).sum(-1, keepdim=True), roughness)
    torch.testing.assert_close(shaded.colour, albedo + 0.7 * (0.04 * scale + bias))
    assert (shaded.diffuse == 1).all()


def test_no_specular_leaves_lambert_and_f0_may_vary():
    normal, view, albedo, roughness = points(10)
    none = shade(albedo, roughness, torch.zeros_like(roughness), normal, view, WhiteLight(), 0.04)
    torch.testing.assert_close(none.colour, albedo)
    f0 = torch.linspace(0, 1, 10)[:, None]
    some = shade(albedo, roughness, torch.ones_like(roughness), normal, view, WhiteLight(), f0)
    assert (some.colour[-1] - albedo[-1]).mean() > (some.colour[0] - albedo[0]).mean()


def test_specular_light_is_asked_for_in_the_mirror_direction():
    class Spy(WhiteLight):
        def specular(self, direction, roughness):
            return direction

    normal = torch.tensor([[0.0, 0.0, 1.0]])
    view = torch.tensor([[0.6, 0.0, 0.8]])
    one = torch.ones(1, 1)
    shaded = shade(torch.zeros(1, 3), 0.5 * one, one, normal, view, Spy(), 0.04)
    torch.testing.assert_close(shaded.specular, torch.tensor([[-0.6, 0.0, 0.8]]))


class SmoothLight:
    """A light of any precision with a slope everywhere."""

    def diffuse(self, normal):
        return torch.exp(0.5 * normal)

    def specular(self, direction, roughness):
        return torch.exp(direction.roll(1, 1) * (1 - roughness))


def twin(surface, centres, batch, albedo, roughness, specular, f0):
    """The specification: `facing_normal_and_view` and `shade` in plain torch."""
    position, normal = surface.split(3, 1)
    view = torch.nn.functional.normalize(centres[batch] - position, dim=1)
    normal = torch.nn.functional.normalize(normal, dim=1)
    normal = normal - 2 * (normal * view).sum(1, keepdim=True).clamp(max=0) * view
    n_dot_v = (normal * view).sum(1, keepdim=True)
    mirror = torch.nn.functional.normalize(2 * n_dot_v * normal - view, dim=1)
    cosines, rows = np.linspace(MIN_N_DOT_V, 1, 256), np.linspace(MIN_ROUGHNESS, 1, 256)
    table = np.stack([integrate_brdf(cosines.astype(np.float32), row) for row in rows], 1)
    table = torch.from_numpy(table)[None].to(albedo)
    x = (n_dot_v - MIN_N_DOT_V) / (1 - MIN_N_DOT_V) * 2 - 1
    y = (roughness - MIN_ROUGHNESS) / (1 - MIN_ROUGHNESS) * 2 - 1
    found = torch.nn.functional.grid_sample(
        table, torch.cat([x, y], 1)[None, None], padding_mode="border", align_corners=True
    )[0, :, 0]
    light = SmoothLight()
    reflectance = specular * (f0 * found[0, :, None] + found[1, :, None])
    return albedo * light.diffuse(normal) + light.specular(mirror, roughness) * reflectance


def ours(surface, centres, batch, albedo, roughness, specular, f0):
    normal, view = facing_normal_and_view(surface, centres, batch)
    return shade(albedo, roughness, specular, normal, view, SmoothLight(), f0).colour


def test_a_shaded_surface_and_its_gradients_match_the_twin():
    generator = torch.Generator().manual_seed(3)
    n, batch = 400, torch.arange(400) % 2
    centres = torch.tensor([[0.0, 0.0, 5.0], [4.0, 1.0, 3.0]])
    surface = torch.randn(n, 6, generator=generator)
    material = torch.rand(n, 5, generator=generator)
    f0, weight = torch.rand(n, 1, generator=generator) * 0.1, torch.randn(n, 3, generator=generator)
    results = []
    for function, dtype in ((ours, torch.float32), (twin, torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in (surface, material, f0)]
        colour = function(leaves[0], centres.to(dtype), batch, *leaves[1].split([3, 1, 1], 1), leaves[2])
        grads = torch.autograd.grad((colour * weight).sum(), leaves)
        results.append([t.detach().double() for t in (colour, *grads)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=2e-3)


def test_a_picture_of_nothing_is_shaded_and_has_gradients():
    surface, material = torch.zeros(0, 6, requires_grad=True), torch.zeros(0, 5, requires_grad=True)
    nobody = torch.zeros(0, dtype=torch.long)
    ours(surface, torch.zeros(1, 3), nobody, *material.split([3, 1, 1], 1), torch.zeros(0, 1)).sum().backward()
    assert surface.grad is not None
    assert material.grad is not None


def test_padding_has_finite_directions_and_gradients():
    surface = torch.zeros(3, 6, requires_grad=True)
    normal, view = facing_normal_and_view(surface, torch.zeros(1, 3), torch.zeros(3, dtype=torch.long))
    mirror = mirrored(normal, view)
    (normal + view + mirror).sum().backward()
    assert normal.isfinite().all()
    assert surface.grad.isfinite().all()


def test_normals_that_point_away_are_mirrored_to_the_viewer():
    normal, view, _, _ = points(50)
    sign = torch.tensor([1.0, -1.0]).repeat(25)[:, None]
    facing, to_camera = facing_normal_and_view(
        torch.cat([torch.zeros(50, 3), 3 * sign * normal], 1), 2 * view, torch.arange(50)
    )
    torch.testing.assert_close(to_camera, view)
    along = (normal * view).sum(1, keepdim=True)
    assert (along > 0).all()
    # What lies along the view is turned to it, what lies across it is kept.
    torch.testing.assert_close(facing, sign * (normal - along * view) + along * view)


def test_a_normal_just_past_the_outline_stays_nearly_what_it_was():
    past = torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, -0.02]])
    facing, _ = facing_normal_and_view(past, torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, dtype=torch.long))
    assert (facing - torch.tensor([[1.0, 0.0, 0.0]])).norm() < 0.03
