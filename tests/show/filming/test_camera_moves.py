"""Where moving cameras stand: an orbit keeps what it goes around, a tracking camera keeps the head."""

import math

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.camera import Cameras, look_at
from flare_cli.show.filming.camera_moves import head_centres, moved_cameras, reframed

FRAMES = 12


@pytest.fixture
def cameras() -> Cameras:
    eye, target = torch.tensor([[0.2, 0.3, 1.5]]), torch.tensor([[0.0, 0.1, 0.0]])
    return look_at(eye, target, fov_y=0.4, height=100, width=80).expand(FRAMES)


@pytest.fixture
def still() -> torch.Tensor:
    return torch.tensor([0.05, 0.1, -0.02]).repeat(FRAMES, 1)


def test_a_fixed_camera_stays(cameras: Cameras, still: torch.Tensor):
    assert moved_cameras("fixed", cameras, still, degrees=60, fps=25) is cameras


@pytest.mark.parametrize("degrees", [60, 360])
def test_an_orbit_goes_around_the_head_at_one_distance_and_height(cameras: Cameras, still: torch.Tensor, degrees: int):
    orbit = moved_cameras("orbit", cameras, still, degrees=degrees, fps=25)
    pivot = still[:, None]
    torch.testing.assert_close(orbit.project(pivot), cameras.project(pivot), atol=1e-3, rtol=0)
    arm, own_arm = orbit.centres() - still, cameras.centres() - still
    torch.testing.assert_close(arm[:, 1], own_arm[:, 1])
    torch.testing.assert_close(arm.norm(dim=1), own_arm.norm(dim=1))
    angle = torch.atan2(arm[:, 0], arm[:, 2]) - torch.atan2(own_arm[:, 0], own_arm[:, 2])
    quarter = FRAMES // 4
    if degrees == 360:
        assert math.cos(angle[quarter]) == pytest.approx(0, abs=1e-5)
        assert math.cos(angle[2 * quarter]) == pytest.approx(-1, abs=1e-5)
    else:
        assert math.degrees(angle[quarter]) == pytest.approx(30, abs=1e-3)  # to the subject's left first
        assert math.degrees(angle[3 * quarter]) == pytest.approx(-30, abs=1e-3)
    assert float(angle[0]) == pytest.approx(0, abs=1e-5)


def test_a_tracking_camera_keeps_a_head_that_walks(cameras: Cameras):
    pace = torch.linspace(-0.2, 0.2, FRAMES)[:, None] * torch.tensor([1.0, 0.3, 0.5])
    followed = moved_cameras("track", cameras, pace, degrees=60, fps=4)
    seen = followed.project(pace[:, None])[:, 0]
    middle = seen[4:8]  # away from the ends, where the window is cut
    assert (middle.amax(0) - middle.amin(0)).max() < 1
    lost = cameras.project(pace[:, None])[4:8, 0]
    assert (lost.amax(0) - lost.amin(0)).max() > 10


def test_another_shape_keeps_the_middle_and_the_scale(cameras: Cameras):
    wide = reframed(cameras, 200, 400)
    points = torch.randn(FRAMES, 5, 3) * 0.1
    expected = cameras.project(points) * 2 + torch.tensor([400 / 2 - 80, 0.0])
    torch.testing.assert_close(wide.project(points), expected, atol=1e-2, rtol=0)
    assert (wide.height, wide.width) == (200, 400)


def test_the_middle_of_the_head_moves_with_the_head(open_head, tiny_config, toy_frames):
    avatar = Avatar(open_head, toy_frames.track.shape, stage_spec(tiny_config, tiny_config.stage[0]))
    track = toy_frames.track
    shift = torch.randn(len(track), 3)
    turn = torch.randn(len(track), 3)
    track.translation.copy_(shift)
    track.pose[:, 0] = turn
    root = avatar.joints()[0]
    expected = (rotation_from_axis_angle(turn) @ -root) + root + shift
    torch.testing.assert_close(head_centres(avatar, track), expected, atol=1e-5, rtol=0)
