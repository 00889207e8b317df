import math

import numpy as np
import pytest
import torch

from flare_cli.render.shading import brdf_scale_and_bias, facing, integrate_brdf, shade


class WhiteLight:
    def diffuse(self, normal):
        return torch.ones_like(normal)

    def specular(self, direction, roughness):
        return torch.ones_like(direction)


def points(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    view = facing(torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1), normal)
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


def test_normals_are_turned_to_the_viewer():
    normal, view, _, _ = points(50)
    turned = facing(normal * torch.tensor([1.0, -1.0]).repeat(25)[:, None], view)
    assert ((turned * view).sum(-1) >= 0).all()
