import math

import pytest
import torch

from flare_cli.render.light.samples import even_samples, sum_light
from flare_cli.render.light.sphere import even_directions, harmonics
from flare_cli.render.light.visibility import trace_visibility


def ball(centre, radius, n=48):
    """A sphere of n x 2n patches and its unit normals."""
    theta, phi = torch.meshgrid(
        torch.linspace(0, math.pi, n + 1), torch.linspace(0, 2 * math.pi, 2 * n + 1), indexing="ij"
    )
    normals = torch.stack([theta.sin() * phi.cos(), theta.cos(), theta.sin() * phi.sin()], -1).flatten(0, 1)
    row, column = (grid.flatten() for grid in torch.meshgrid(torch.arange(n), torch.arange(2 * n), indexing="ij"))
    corner = row * (2 * n + 1) + column
    below, right = corner + 2 * n + 1, corner + 1
    faces = torch.cat([torch.stack([corner, right, below], 1), torch.stack([right, below + 1, below], 1)])
    return torch.tensor(centre) + radius * normals, faces, normals


def irradiance(visibility, normal):
    """What arrives of white light of radiance 1, times pi."""
    roughness = torch.ones(len(normal), 1)
    return sum_light(even_samples(1024), normal, normal, roughness, roughness, visibility)[0][:, 0]


def test_a_convex_surface_sees_everything():
    vertices, faces, normals = ball([0.0, 0.0, 0.0], 0.08, n=24)
    visibility = trace_visibility(vertices, normals, vertices, faces, 64)
    above = torch.where(normals @ even_directions(100).T > 0, visibility @ harmonics(even_directions(100)).T, 1.0)
    torch.testing.assert_close(above, torch.ones_like(above), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "radius"), [(0.3, 0.1), (0.2, 0.1), (0.15, 0.12)])
def test_a_sphere_above_a_plane_takes_its_form_factor_of_the_light(height, radius):
    vertices, faces, _ = ball([0.0, height, 0.0], radius)
    point, up = torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]])
    visibility = trace_visibility(point, up, vertices, faces, 2048)
    # A sphere straight ahead of a surface: (radius / distance)^2 of its irradiance.
    assert irradiance(visibility, up).item() == pytest.approx(1 - (radius / height) ** 2, abs=0.04)


def test_a_wall_shadows_the_side_on_which_it_stands():
    wall = torch.tensor([[0.01, 0.0, -9.0], [0.01, 0.0, 9.0], [0.01, 9.0, 9.0], [0.01, 9.0, -9.0]])
    faces, up = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0.0, 1.0, 0.0]])
    visibility = trace_visibility(torch.zeros(1, 3), up, wall, faces, 1024)
    towards, away = (
        (visibility @ harmonics(torch.nn.functional.normalize(torch.tensor([[x, 1.0, 0.0]]), dim=1)).T).item()
        for x in (1.0, -1.0)
    )
    assert towards < 0.2
    assert away > 0.8
    assert irradiance(visibility, up).item() == pytest.approx(0.5, abs=0.05)


def test_both_sides_of_a_triangle_block():
    lid = torch.tensor([[-9.0, 0.05, -9.0], [9.0, 0.05, -9.0], [0.0, 0.05, 9.0]])
    up = torch.tensor([[0.0, 1.0, 0.0]])
    for faces in (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])):
        assert irradiance(trace_visibility(torch.zeros(1, 3), up, lid, faces, 256), up) < 0.05


def test_what_is_seen_turns_with_the_scene():
    vertices, faces, _ = ball([0.1, 0.15, 0.0], 0.1)
    turn = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    up = torch.tensor([[0.0, 1.0, 0.0]])
    before, after = (trace_visibility(torch.zeros(1, 3), up, v, faces, 4096) for v in (vertices, vertices @ turn.T))
    directions = even_directions(64)
    directions = directions[directions[:, 1] > 0.2]
    torch.testing.assert_close(
        after @ harmonics(directions @ turn.T).T, before @ harmonics(directions).T, rtol=0, atol=0.03
    )
