"""How well a recording showed each vertex."""

import math
from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.confidence import HALF_CONFIDENCE, LEAST_FACING, Moment, Shown, what_was_shown
from flare_cli.config.loading import load_config
from flare_cli.data.celebamask import Label
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.frames import Frames
from flare_cli.fit.seen import shown_by
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


def shown_from(
    avatar: Avatar, *yaws: float, mask: int = 255, labels: torch.Tensor | None = None, stands_for: float = 1.0
) -> Shown:
    none = torch.zeros(1, avatar.head.n_expression)
    posed = avatar.posed(expression=none, pose=torch.zeros(1, 5, 3), translation=torch.zeros(1, 3))
    masks = torch.full((1, SIZE, SIZE), mask, dtype=torch.uint8)
    labels = torch.full_like(masks, Label.SKIN) if labels is None else labels
    moments = [Moment(posed=posed, cameras=camera_at(yaw), masks=masks, labels=labels) for yaw in yaws]
    return what_was_shown(avatar, moments, choose_rasterizer("auto", "cpu"), stands_for=stands_for)


def seen_from(avatar: Avatar, yaw: float, *, mask: int = 255, stands_for: float = 1.0) -> torch.Tensor:
    return shown_from(avatar, yaw, mask=mask, stands_for=stands_for).confidence[:, 0]


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


def test_the_squarest_view_is_the_cosine_of_the_nearest_camera(avatar: Avatar):
    """Three metres away all rays are nearly parallel: the cosine is that of the normal and the camera's direction."""
    template = avatar.head.template
    normal = vertex_normals(avatar.neutral_vertices()[None], avatar.head.faces)[0]
    nose = avatar.head.faces[avatar.head.landmarks.face[NOSE]]
    shown = shown_from(avatar, 0, 40)
    assert shown.squarest.shape == (len(template), 1)
    cosines = torch.stack(
        [normal @ torch.tensor([math.sin(a), 0.0, math.cos(a)]) for a in (0.0, math.radians(40))]
    ).amax(0)
    expected = (cosines - LEAST_FACING) / (1 - LEAST_FACING)
    torch.testing.assert_close(shown.squarest[nose, 0], expected[nose], atol=0.03, rtol=0)
    torch.testing.assert_close(shown_from(avatar, 0, 0).squarest, shown_from(avatar, 0).squarest)


def test_coverings_are_the_labels_where_vertices_are_seen(avatar: Avatar):
    """Hair in the upper half of the picture, cloth in the lower: the camera looks at the origin."""
    labels = torch.full((1, SIZE, SIZE), Label.CLOTH, dtype=torch.uint8)
    labels[:, : SIZE // 2] = Label.HAIR
    shown, y = shown_from(avatar, 0, labels=labels), avatar.head.template[:, 1]
    seen = shown.confidence[:, 0] > 0
    expected = torch.tensor([1.0, 0.0]).expand(int((seen & (y > 0.01)).sum()), 2)
    torch.testing.assert_close(shown.coverings[seen & (y > 0.01)], expected)
    assert (shown.coverings[seen & (y < -0.01)] == torch.tensor([0.0, 1.0])).all()
    assert shown.coverings[~seen].max() == 0
    assert shown_from(avatar, 0).coverings.max() == 0


def test_what_lies_beside_the_person_does_not_count_as_bare(avatar: Avatar):
    labels = torch.full((1, SIZE, SIZE), Label.HAIR, dtype=torch.uint8)
    labels[:, :, : SIZE // 2] = Label.BACKGROUND
    shown = shown_from(avatar, 0, 10, labels=labels)
    assert set(shown.coverings[:, 0].tolist()) == {0.0, 1.0}


def test_a_fit_measures_it_by_its_frames(toy_frames: Frames, avatar: Avatar):
    shown = shown_by(toy_frames, avatar, choose_rasterizer("auto", "cpu"))
    blind = replace(toy_frames, pictures=replace(toy_frames.pictures, mask=torch.zeros_like(toy_frames.pictures.mask)))
    assert shown.confidence.shape == (len(avatar.head.template), 1)
    assert 0.3 < shown.confidence.max() < 1
    assert shown_by(blind, avatar, choose_rasterizer("auto", "cpu")).confidence.max() == 0
