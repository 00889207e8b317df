"""Mitsuba's pictures against closed forms and against our own ray tracer. They skip where Mitsuba is not installed."""

import math
from dataclasses import replace

import pytest
import torch
import trimesh
from support.painted_meshes import camera, painted, sun
from torch.nn.functional import avg_pool2d

from flare_cli.errors import BackendError
from flare_cli.render.camera import look_at
from flare_cli.synthetic import mitsuba
from flare_cli.synthetic.mitsuba import mitsuba_installed, mitsuba_variant, trace_path
from flare_cli.synthetic.performance import perform
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recording import make_person, studio_camera, studio_light

needs_mitsuba = pytest.mark.skipif(not mitsuba_installed(), reason="Mitsuba is not installed")
WHITE = torch.ones(16, 32, 3)


@pytest.fixture(scope="module")
def sphere():
    return trimesh.creation.icosphere(subdivisions=5)


def test_without_mitsuba_one_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(mitsuba, "mitsuba_installed", lambda: False)
    with pytest.raises(BackendError, match="not installed") as error:
        mitsuba_variant.__wrapped__()
    assert error.value.hint == "pip install flare-cli[synth]"


@needs_mitsuba
def test_a_variant_that_ends_its_process_is_passed_over(monkeypatch):
    monkeypatch.setattr(mitsuba, "VARIANTS", ("no_such_variant", "scalar_rgb"))
    assert mitsuba_variant.__wrapped__() == "scalar_rgb"


def test_where_no_variant_draws_the_error_says_what_the_last_one_complained_of(monkeypatch):
    monkeypatch.setattr(mitsuba, "mitsuba_installed", lambda: True)
    monkeypatch.setattr(mitsuba, "VARIANTS", ("no_such_variant",))
    monkeypatch.setattr(mitsuba, "TRIAL", "import os; os.abort()")
    with pytest.raises(BackendError, match=r"draws nothing here: exit code -?\d+"):
        mitsuba_variant.__wrapped__()


@needs_mitsuba
def test_a_white_matte_sphere_vanishes_in_a_white_furnace(sphere):
    picture = trace_path(painted(sphere, smooth=True), camera(), WHITE, samples=64, seed=0, bounces=0)
    radiance = picture.radiance[picture.coverage == 1]
    assert abs(float(radiance.mean()) - 1) < 0.01
    assert float(radiance.std()) < 0.1


@needs_mitsuba
def test_a_mirrorlike_microfacet_sphere_reflects_at_most_what_arrives(sphere):
    mesh = painted(sphere, albedo=0.0, roughness=0.3, f0=1.0, smooth=True)
    picture = trace_path(mesh, camera(), WHITE, samples=256, seed=0, bounces=0)
    # GGX without multiple scattering loses 1.7 % at normal incidence for roughness 0.3, never gains.
    assert 0.96 < float(picture.radiance[12:20, 12:20].mean()) < 1.01


@needs_mitsuba
def test_coverage_is_the_analytic_disc_and_depth_and_normal_those_of_the_nearest_point(sphere):
    view = camera(size=33)
    picture = trace_path(painted(sphere, smooth=True), view, WHITE, samples=64, seed=0, bounces=0)
    radius = float(view.intrinsics[0, 0]) / math.sqrt(8)
    assert float(picture.coverage.sum()) == pytest.approx(math.pi * radius**2, rel=0.01)
    assert picture.coverage[0, 0] == 0
    assert (picture.label[0, 0], picture.label[16, 16]) == (0, 1)
    assert float(picture.depth[16, 16]) == pytest.approx(2.0, abs=0.01)
    torch.testing.assert_close(picture.normal[16, 16], torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)
    assert float(picture.normal[16, 28, 0]) > 0.5
    assert float(picture.normal[4, 16, 1]) > 0.5


@needs_mitsuba
@pytest.mark.parametrize("row", [4, 11])
def test_a_small_lamp_gives_the_irradiance_of_its_solid_angle(row):
    # A floor facing +y under a lamp in one map pixel: E = L * integral of cos(theta); Lambert returns E * albedo / pi.
    floor = trimesh.Trimesh([[-9, 0, -9], [-9, 0, 9], [9, 0, 9], [9, 0, -9]], [[0, 1, 2], [0, 2, 3]], process=False)
    view = look_at(torch.tensor([[0.0, 3.0, 0.1]]), torch.zeros(1, 3), fov_y=0.3, height=8, width=8)
    picture = trace_path(painted(floor, albedo=0.5), view, sun(row, 20), samples=256, seed=0, bounces=1)
    top, bottom = math.cos(row / 32 * math.pi), math.cos((row + 1) / 32 * math.pi)
    irradiance = 100.0 * (2 * math.pi / 64) * (top**2 - bottom**2) / 2
    assert float(picture.radiance.mean()) == pytest.approx(irradiance * 0.5 / math.pi, rel=0.02)


@needs_mitsuba
def test_a_lamp_on_the_subjects_left_lights_the_positive_x_side(sphere):
    envmap = torch.zeros(16, 32, 3)
    envmap[:, 16:] = 1.0
    picture = trace_path(painted(sphere, smooth=True), camera(), envmap, samples=64, seed=0, bounces=0)
    inside = picture.coverage == 1
    # Half a sphere of light around +x gives irradiance pi (1 + n.x) / 2.
    error = picture.radiance[inside][:, 0] - (1 + picture.normal[inside][:, 0]) / 2
    assert abs(float(error.mean())) < 0.01
    assert float(error.abs().mean()) < 0.06


@needs_mitsuba
def test_a_point_appears_where_a_camera_with_an_off_centre_principal_point_projects_it():
    dot = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    place = torch.tensor([[[0.37, -0.21, 0.4]]])
    dot.apply_translation(place[0, 0].numpy())
    view = look_at(torch.tensor([[0.4, 0.9, 3.0]]), torch.zeros(1, 3), fov_y=0.8, height=48, width=64)
    view = replace(view, intrinsics=view.intrinsics + torch.tensor([[0.0, 0.0, 5.3, -7.6]]))
    coverage = trace_path(painted(dot), view, WHITE, samples=512, seed=0, bounces=0).coverage
    v, u = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    centroid = torch.stack([(u * coverage).sum(), (v * coverage).sum()]) / coverage.sum()
    torch.testing.assert_close(centroid, view.project(place)[0, 0], atol=0.03, rtol=0)


@needs_mitsuba
def test_a_corner_gets_lighter_with_every_bounce():
    # In an endless right-angled corner half of each side's light comes from the other: albedo / 2 directly under a
    # white sky, and every bounce brings albedo / 2 of what the one before brought.
    far, albedo = 500.0, 0.8
    corner = trimesh.Trimesh(
        [[-far, 0, 0], [far, 0, 0], [far, 0, far], [-far, 0, far], [-far, far, 0], [far, far, 0]],
        [[0, 2, 1], [0, 3, 2], [0, 1, 5], [0, 5, 4]],
        process=False,
    )
    mesh = replace(painted(corner, albedo=albedo), normals=torch.tensor([[0.0, 1, 0]]).expand(6, 3))
    view = look_at(torch.tensor([[0.0, 2.0, 3.0]]), torch.tensor([[0.0, 0.0, 1.0]]), fov_y=0.1, height=8, width=8)
    for bounces in (0, 1, 2):
        picture = trace_path(_flat(mesh), view, WHITE, samples=1024, seed=bounces, bounces=bounces)
        expected = albedo / 2 * sum((albedo / 2) ** k for k in range(bounces + 1))
        assert float(picture.radiance.mean()) == pytest.approx(expected, rel=0.015), bounces


def _flat(mesh):
    """Every face with corners and a normal of its own."""
    corners = mesh.vertices[mesh.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(normals, dim=-1)[:, None].expand(-1, 3, 3)
    index = mesh.faces.flatten()
    return replace(
        mesh,
        vertices=corners.reshape(-1, 3),
        normals=normals.reshape(-1, 3),
        faces=torch.arange(len(index)).reshape(-1, 3),
        albedo=mesh.albedo[index],
        roughness=mesh.roughness[index],
        labels=mesh.labels[index],
    )


@needs_mitsuba
def test_direct_light_on_a_head_is_what_our_ray_tracer_finds():
    mesh, view, light = make_person(0).posed(perform(10, seed=0), 4), studio_camera(64), studio_light(0)
    ours = trace_picture(mesh, view, light, samples=256, seed=0)
    theirs = trace_path(mesh, view, light, samples=256, seed=0, bounces=0)
    inside = (ours.coverage == 1) & (theirs.coverage == 1)
    assert float(theirs.radiance.mean() / ours.radiance.mean()) == pytest.approx(1, abs=0.005)
    # Means over 4 x 4 pixels leave little of the noise.
    whole = avg_pool2d(inside[None].float(), 4)[0] == 1
    ours_mean, theirs_mean = (avg_pool2d(p.radiance.permute(2, 0, 1), 4)[:, whole] for p in (ours, theirs))
    assert float((ours_mean - theirs_mean).abs().mean()) < 0.02 * float(ours_mean.mean())
    assert abs(float((ours_mean - theirs_mean).mean())) < 0.003 * float(ours_mean.mean())
    for name, near in (("albedo", 0.01), ("roughness", 0.01), ("normal", 0.03), ("depth", 0.002)):
        error = (getattr(ours, name) - getattr(theirs, name))[inside].abs()
        assert float(error.mean()) < near, name
    assert float((ours.coverage - theirs.coverage).abs().mean()) < 0.002
    assert float((ours.label == theirs.label).float().mean()) > 0.998


@needs_mitsuba
def test_the_same_seed_gives_the_same_picture(sphere):
    pictures = [
        trace_path(painted(sphere), camera(size=8), WHITE, samples=4, seed=s, bounces=1).radiance for s in (1, 1, 2)
    ]
    # Samples are added up by threads, in no fixed order.
    torch.testing.assert_close(pictures[0], pictures[1], atol=1e-5, rtol=1e-5)
    assert float((pictures[0] - pictures[2]).abs().max()) > 0.01
