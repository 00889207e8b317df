"""How well a recording showed each vertex."""

import math
from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.confidence import HALF_CONFIDENCE, LEAST_FACING, vertex_confidence
from flare_cli.config.loading import load_config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.frames import Frames
from flare_cli.fit.seen import seen_confidence
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras, look_at
from flare_cli.render.geometry import vertex_normals

SIZE, NOSE = 192, 4


@pytest.fixture(scope="module")
def avatar(open_head: HeadModel) -> Avatar:
    config = load_config("demo", ["material.log2_entries=10"])
    return Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)


def camera_at(yaw: float) -> Cameras:
    """Looks at the head's middle from 3 metres away, `yaw` degrees to its left."""
    across = math.radians(yaw)
    eye = torch.tensor([[3 * math.sin(across), 0.0, 3 * math.cos(across)]])
    return look_at(eye, torch.zeros(1, 3), fov_y=0.13, height=SIZE, width=SIZE)


def seen_from(avatar: Avatar, yaw: float, *, mask: int = 255, stands_for: float = 1.0) -> torch.Tensor:
    none = torch.zeros(1, avatar.head.n_expression)
    posed = avatar.posed(expression=none, pose=torch.zeros(1, 5, 3), translation=torch.zeros(1, 3))
    masks = torch.full((1, SIZE, SIZE), mask, dtype=torch.uint8)
    return vertex_confidence(
        avatar, [(posed, camera_at(yaw), masks)], choose_rasterizer("auto", "cpu"), stands_for=stands_for
    )[:, 0]


def test_what_faces_the_camera_is_seen_and_what_is_behind_is_not(avatar: Avatar):
    confidence, template = seen_from(avatar, 0), avatar.head.template
    nose = avatar.head.faces[avatar.head.landmarks.face[NOSE]]
    assert confidence[nose].min() > 0.15
    assert confidence[vertex_normals(template[None], avatar.head.faces)[0, :, 2] < 0].max() == 0
    assert confidence.max() <= 1 / (1 + HALF_CONFIDENCE)


def test_a_side_view_shows_that_side(avatar: Avatar):
    ears = avatar.head.regions["ears"]
    left = ears & (avatar.head.template[:, 0] > 0)
    confidence = seen_from(avatar, 80)
    assert confidence[left].mean() > 0.05
    assert confidence[ears & ~left].max() == 0


def test_more_frames_add_up(avatar: Avatar):
    one, ten = seen_from(avatar, 0), seen_from(avatar, 0, stands_for=10)
    count = HALF_CONFIDENCE * one / (1 - one)
    torch.testing.assert_close(ten, 10 * count / (10 * count + HALF_CONFIDENCE))
    assert LEAST_FACING < 1


def test_nothing_is_seen_outside_the_mask(avatar: Avatar):
    assert seen_from(avatar, 0, mask=0).max() == 0


def test_a_fit_measures_it_by_its_frames(toy_frames: Frames, avatar: Avatar):
    shown = seen_confidence(avatar, toy_frames, choose_rasterizer("auto", "cpu"))
    blind = replace(toy_frames, pictures=replace(toy_frames.pictures, mask=torch.zeros_like(toy_frames.pictures.mask)))
    assert shown.shape == (len(avatar.head.template), 1)
    assert 0.3 < shown.max() < 1
    assert seen_confidence(avatar, blind, choose_rasterizer("auto", "cpu")).max() == 0
