"""The ray tracer against closed forms: furnace, coverage, irradiance, shadow, projection."""

import math

import pytest
import torch
import trimesh
import warp as wp
from support.painted_meshes import camera, painted, sun

from flare_cli.render.camera import look_at
from flare_cli.synthetic.raytrace import trace_picture


@pytest.fixture(scope="module")
def sphere():
    return trimesh.creation.icosphere(subdivisions=5)


def test_a_white_matte_sphere_vanishes_in_a_white_furnace(sphere):
    picture = trace_picture(painted(sphere, smooth=True), camera(), torch.ones(16, 32, 3), samples=64, seed=0)
    inside = picture.coverage == 1
    radiance = picture.radiance[inside]
    assert abs(float(radiance.mean()) - 1) < 0.01
    assert float(radiance.std()) < 0.1


def test_a_mirrorlike_microfacet_sphere_reflects_at_most_what_arrives(sphere):
    mesh = painted(sphere, albedo=0.0, roughness=0.3, f0=1.0, smooth=True)
    picture = trace_picture(mesh, camera(), torch.ones(16, 32, 3), samples=64, seed=0)
    middle = picture.radiance[12:20, 12:20].mean()
    # GGX without multiple scattering loses 1.7 % at normal incidence for roughness 0.3 (alpha 0.09), never gains.
    assert 0.96 < float(middle) < 1.01


def test_coverage_of_a_sphere_is_its_analytic_disc(sphere):
    view = camera()
    picture = trace_picture(painted(sphere), view, torch.ones(16, 32, 3), samples=16, seed=0)
    # A sphere of radius 1 at distance 3 is a circle of radius f / sqrt(3^2 - 1) in the picture.
    radius = float(view.intrinsics[0, 0]) / math.sqrt(8)
    assert float(picture.coverage.sum()) == pytest.approx(math.pi * radius**2, rel=0.01)
    assert picture.coverage[0, 0] == 0
    assert picture.label[0, 0] == 0
    assert picture.label[16, 16] == 1


def test_depth_and_normal_of_the_nearest_point(sphere):
    picture = trace_picture(painted(sphere, smooth=True), camera(size=33), torch.ones(8, 16, 3), samples=16, seed=0)
    assert float(picture.depth[16, 16]) == pytest.approx(2.0, abs=0.01)
    torch.testing.assert_close(picture.normal[16, 16], torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)


def test_a_small_lamp_gives_the_irradiance_of_its_solid_angle():
    # A floor facing +y under a lamp in map row 4: E = L * solid angle * cos(theta); Lambert returns E * albedo / pi.
    floor = trimesh.Trimesh([[-9, 0, -9], [-9, 0, 9], [9, 0, 9], [9, 0, -9]], [[0, 1, 2], [0, 2, 3]], process=False)
    view = look_at(torch.tensor([[0.0, 3.0, 0.1]]), torch.zeros(1, 3), fov_y=0.3, height=8, width=8)
    picture = trace_picture(painted(floor, albedo=0.5), view, sun(4, 20), samples=32, seed=0)
    top, bottom = math.cos(4 / 32 * math.pi), math.cos(5 / 32 * math.pi)
    irradiance = 100.0 * (2 * math.pi / 64) * (top**2 - bottom**2) / 2  # the integral of cos(theta) over the pixel
    assert float(picture.radiance.mean()) == pytest.approx(irradiance * 0.5 / math.pi, rel=0.02)


def test_an_occluder_casts_its_shadow_where_the_lamp_is_hidden():
    # A lamp straight above; a plate 1 m over the floor covers |x| < 0.5.
    floor = trimesh.Trimesh([[-9, 0, -9], [-9, 0, 9], [9, 0, 9], [9, 0, -9]], [[0, 1, 2], [0, 2, 3]], process=False)
    plate = trimesh.Trimesh(
        [[-0.5, 1, -9], [-0.5, 1, 0], [0.5, 1, 0], [0.5, 1, -9]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    both = trimesh.util.concatenate([floor, plate])
    envmap = torch.zeros(64, 128, 3)
    envmap[0] = 1000.0  # within 2.8 degrees of straight up: a penumbra of 5 cm
    view = look_at(torch.tensor([[0.0, 0.8, 3.0]]), torch.tensor([[0.0, 0.0, -3.0]]), fov_y=0.1, height=9, width=33)
    lit = trace_picture(painted(both), view, envmap, samples=16, seed=0)
    shadow = lit.radiance[4, :, 0]
    rows = torch.arange(33) + 0.5
    depth = lit.depth[4]
    x = (rows - 16.5) / float(view.intrinsics[0, 0]) * depth
    assert (shadow[x.abs() < 0.42] == 0).all()
    assert (shadow[x.abs() > 0.58] > 1).all()
    assert (x.abs() > 0.58).any()


def test_a_point_appears_where_the_camera_projects_it():
    dot = trimesh.creation.icosphere(subdivisions=3, radius=0.02)
    place = torch.tensor([[[0.37, -0.21, 0.4]]])
    dot.apply_translation(place[0, 0].numpy())
    view = camera(size=64)
    coverage = trace_picture(painted(dot), view, torch.ones(8, 16, 3), samples=64, seed=0).coverage
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    centroid = torch.stack([(u * coverage).sum(), (v * coverage).sum()]) / coverage.sum()
    torch.testing.assert_close(centroid, view.project(place)[0, 0], atol=0.1, rtol=0)


def test_the_right_half_of_the_map_lights_the_positive_x_side(sphere):
    envmap = torch.zeros(16, 32, 3)
    envmap[:, 16:] = 1.0
    picture = trace_picture(painted(sphere, smooth=True), camera(), envmap, samples=64, seed=0)
    inside = picture.coverage == 1
    # Half a sphere of light around +x gives irradiance pi (1 + n.x) / 2.
    expected = (1 + picture.normal[inside][:, 0]) / 2
    error = picture.radiance[inside][:, 0] - expected
    assert abs(float(error.mean())) < 0.01
    assert float(error.abs().mean()) < 0.06


def test_the_same_seed_gives_the_same_picture(sphere):
    pictures = [
        trace_picture(painted(sphere), camera(size=8), torch.ones(8, 16, 3), samples=4, seed=s).radiance
        for s in (1, 1, 2)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@pytest.mark.gpu
def test_a_gpu_keeps_the_furnace_and_the_disc(sphere):
    view = camera()
    picture = trace_picture(painted(sphere, smooth=True).to("cuda"), view, torch.ones(16, 32, 3), samples=64, seed=0)
    radiance = picture.radiance[picture.coverage == 1]
    assert float(radiance.mean()) == pytest.approx(1, abs=0.01)
    assert float(radiance.std()) < 0.1
    radius = float(view.intrinsics[0, 0]) / math.sqrt(8)
    assert float(picture.coverage.sum()) == pytest.approx(math.pi * radius**2, rel=0.01)


@pytest.mark.gpu
def test_the_gpu_traces_the_same_picture(sphere):
    if not wp.is_cpu_available():
        pytest.skip("Warp has no CPU compiler here")
    mesh = painted(sphere, albedo=0.6, f0=0.04, smooth=True)
    here = trace_picture(mesh, camera(), sun(4, 20), samples=16, seed=0)
    there = trace_picture(mesh.to("cuda"), camera(), sun(4, 20), samples=16, seed=0)
    # Rays that graze an edge may fall on either side.
    close = (here.radiance - there.radiance.cpu()).abs().amax(-1) < 1e-3
    assert close.float().mean() > 0.98
    assert (here.label == there.label.cpu()).float().mean() > 0.99
