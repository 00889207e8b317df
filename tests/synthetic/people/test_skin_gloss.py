"""Specular intensity and the two lobes of skin, in both tracers, against numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from support.painted_meshes import camera, painted

from flare_cli.synthetic.mitsuba import MitsubaHead, mitsuba_installed, trace_path
from flare_cli.synthetic.raytrace import trace_picture

needs_mitsuba = pytest.mark.skipif(not mitsuba_installed(), reason="Mitsuba is not installed")
WHITE = torch.ones(16, 32, 3)
SHARP_ALPHA = 0.4  # of the sharp lobe, relative to the single one's


def glossy(*, albedo, roughness, specular, sharp, f0=0.04):
    mesh = painted(trimesh.creation.icosphere(subdivisions=5), albedo=albedo, roughness=roughness, f0=f0, smooth=True)
    ones = torch.ones(len(mesh.vertices))
    return replace(mesh, specular=specular * ones, sharp=sharp * ones if sharp else None)


def mirrored_of_white(cosine, *, roughness, specular, sharp, f0=0.04):
    """What a surface mirrors of a white sky towards a viewer at this cosine: a sum over half vectors' sky."""
    theta = (np.arange(600) + 0.5) / 600 * (math.pi / 2)
    phi = (np.arange(600) + 0.5) / 600 * (2 * math.pi)
    theta, phi = np.meshgrid(theta, phi, indexing="ij")
    light = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    view = np.array([math.sqrt(1 - cosine**2), 0.0, cosine])
    half = light + view
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    fresnel = f0 + (1 - f0) * (1 - half @ view) ** 5
    alpha = roughness**2
    total = 0.0
    for share, a in ((sharp, SHARP_ALPHA * alpha), (1 - sharp, alpha * (1 - SHARP_ALPHA * sharp) / (1 - sharp))):
        facets = a**2 / (math.pi * (half[..., 2] ** 2 * (a**2 - 1) + 1) ** 2)
        seen = [2 * c / (c + np.sqrt(a**2 + (1 - a**2) * c**2)) for c in (cosine, light[..., 2])]
        total = total + share * facets * seen[0] * seen[1]
    value = specular * fresnel * total / (4 * cosine)
    return float((value * np.sin(theta)).sum() * (math.pi / 2 / 600) * (2 * math.pi / 600))


def at_cosine(picture, cosine):
    toward = torch.tensor([0.0, 0.0, 3.0]) - picture.normal  # the camera's place less the unit sphere's
    cosines = (picture.normal * torch.nn.functional.normalize(toward, dim=-1)).sum(-1)
    near = (picture.coverage == 1) & ((cosines - cosine).abs() < 0.02)
    return float(picture.radiance[near].mean())


@needs_mitsuba
@pytest.mark.parametrize("sharp", [0.0, 0.35])
@pytest.mark.parametrize("roughness", [0.35, 0.6])
def test_a_sphere_under_a_white_sky_is_what_the_integral_says(roughness, sharp):
    mesh = glossy(albedo=0.2, roughness=roughness, specular=0.7, sharp=sharp)
    picture = trace_path(mesh, camera(size=64), WHITE, samples=256, seed=0, bounces=0)
    for cosine in (0.95, 0.6, 0.35):
        expected = 0.2 + mirrored_of_white(cosine, roughness=roughness, specular=0.7, sharp=sharp)
        assert at_cosine(picture, cosine) == pytest.approx(expected, rel=0.015)
    solid = picture.coverage == 1
    assert float(picture.specular[solid].mean()) == pytest.approx(0.7, abs=1e-5)
    assert float(picture.roughness[solid].mean()) == pytest.approx(roughness, abs=1e-5)


@needs_mitsuba
def test_two_lobes_reflect_at_most_what_arrives():
    mesh = glossy(albedo=0.0, roughness=0.4, specular=1.0, sharp=0.35, f0=1.0)
    picture = trace_path(mesh, camera(), WHITE, samples=256, seed=0, bounces=0)
    assert 0.9 < float(picture.radiance[12:20, 12:20].mean()) < 1.005


def test_our_ray_tracer_means_the_same_by_specular():
    mesh = glossy(albedo=0.2, roughness=0.5, specular=0.7, sharp=0.0)
    picture = trace_picture(mesh, camera(size=64), WHITE, samples=64, seed=0)
    for cosine in (0.95, 0.6, 0.35):
        expected = 0.2 + mirrored_of_white(cosine, roughness=0.5, specular=0.7, sharp=0.0)
        assert at_cosine(picture, cosine) == pytest.approx(expected, rel=0.015)
    assert float(picture.specular[picture.coverage == 1].mean()) == pytest.approx(0.7, abs=1e-5)


@needs_mitsuba
def test_one_scene_draws_many_cameras_and_lights():
    mesh = glossy(albedo=0.5, roughness=0.5, specular=0.7, sharp=0.3)
    lamp = torch.zeros(32, 64, 3)
    lamp[11, 20] = 100.0
    head = MitsubaHead(mesh)
    for view, light in ((camera(), WHITE), (camera(size=24, distance=4.0), lamp), (camera(), 0.5 * WHITE)):
        again = head.trace(view, light, samples=16, seed=3, bounces=1)
        alone = trace_path(mesh, view, light, samples=16, seed=3, bounces=1)
        torch.testing.assert_close(again.radiance, alone.radiance, atol=1e-4, rtol=1e-4)
