"""Maps without a mesh: they shade as the avatar's drawing does, and a lamp lights the side that it stands on."""

from dataclasses import replace

import pytest
import torch
from support.drawn import drawn_step
from support.truths import lamp

from flare_cli.avatar.maps import SurfaceMaps, pixel_rays, shade_maps
from flare_cli.render.camera import Cameras, look_at
from flare_cli.render.light.environment import prefilter


def test_rays_go_through_the_middles_of_pixels():
    camera = look_at(torch.tensor([[0.1, 0.2, 0.9]]), torch.zeros(1, 3), fov_y=0.5, height=8, width=12)
    points = pixel_rays(camera)
    seen = camera.camera_from_world[0]
    world = (1.7 * points.reshape(-1, 3) - seen[:, 3]) @ seen[:, :3]
    row, column = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    torch.testing.assert_close(camera.project(world[None])[0], torch.stack([column, row], -1).view(-1, 2))


def test_maps_of_a_drawing_shade_as_it_was_drawn(toy_frames, open_head, tiny_config):
    with torch.no_grad():
        drawn = drawn_step(toy_frames, open_head, tiny_config)
        picture, camera = drawn.picture, toy_frames.track.camera
        rotation = camera.camera_from_world[0, :, :3]
        maps = SurfaceMaps(
            coverage=picture.coverage[..., 0],
            albedo=picture.buffer(picture.material.albedo),
            roughness=picture.buffer(picture.material.roughness)[..., 0],
            specular=picture.buffer(picture.material.specular)[..., 0],
            f0=picture.buffer(picture.surface.f0)[..., 0],
            normal=picture.buffer(picture.surface.normal) @ rotation.T,
            depth=picture.surface.fragments.depth,
        )
        shaded = shade_maps(maps, drawn.avatar.light, camera)
    inside = picture.coverage[..., 0] == 1
    assert inside.sum() > 100
    differs = (shaded - picture.colour)[inside].abs().amax(-1) > 2e-4
    assert differs.float().mean() < 0.05  # the drawing is antialiased, also where a nose stands before a cheek


def ball(camera: Cameras) -> SurfaceMaps:
    """A ball of 10 cm at the world's origin: normals in camera axes by solving for where rays meet it."""
    rays = pixel_rays(camera)
    centre = camera.camera_from_world[0, :, 3]
    a, b = rays.square().sum(-1), rays @ centre
    root = b.square() - a * (centre.square().sum() - 0.1**2)
    hit = root > 0
    depth = torch.where(hit, (b - root.clamp(min=0).sqrt()) / a, 0.0)
    normal = torch.where(hit[..., None], (rays * depth[..., None] - centre) / 0.1, 0.0)
    values = hit.float()[None]
    return SurfaceMaps(
        coverage=values,
        albedo=values[..., None].expand(-1, -1, -1, 3) * 0.5,
        roughness=values * 0.5,
        specular=values,
        f0=values * 0.04,
        normal=normal[None],
        depth=depth[None],
    )


@pytest.mark.parametrize("eye", [(0.0, 0.0, 0.9), (0.5, 0.2, 0.7), (-0.5, 0.0, 0.75)])
def test_a_lamp_on_the_subjects_left_lights_the_left_side_from_wherever_it_is_seen(eye: tuple[float, float, float]):
    camera = look_at(torch.tensor([eye]), torch.zeros(1, 3), fov_y=0.3, height=32, width=32)
    rotation = camera.camera_from_world[0, :, :3]
    light = prefilter(torch.from_numpy(lamp(1.0, 0.0, 0.0)))
    maps = ball(camera)
    shaded = shade_maps(maps, light, camera)[0].mean(-1)
    world = maps.normal[0] @ rotation
    inside = maps.coverage[0] > 0
    left, right = inside & (world[..., 0] > 0.3), inside & (world[..., 0] < -0.3)
    assert left.any()
    assert right.any()
    assert shaded[left].min() > shaded[right].max()


def test_a_white_matte_ball_in_a_white_room_is_white():
    camera = look_at(torch.tensor([[0.0, 0, 0.9]]), torch.zeros(1, 3), fov_y=0.3, height=16, width=16)
    maps = ball(camera)
    matte = replace(maps, albedo=2 * maps.albedo, specular=0 * maps.specular, coverage=0.5 * maps.coverage)
    shaded = shade_maps(matte, prefilter(torch.ones(16, 32, 3)), camera)
    inside = maps.coverage > 0
    torch.testing.assert_close(shaded[inside], torch.full_like(shaded[inside], 0.5), atol=1e-3, rtol=0)  # its coverage
    assert (shaded[~inside] == 0).all()


def test_nothing_is_shaded_in_empty_maps():
    camera = look_at(torch.tensor([[0.0, 0, 0.9]]), torch.zeros(1, 3), fov_y=0.3, height=4, width=4)
    maps = ball(camera)
    empty = replace(maps, coverage=0 * maps.coverage)
    assert (shade_maps(empty, prefilter(torch.ones(16, 32, 3)), camera) == 0).all()
