"""What is predicted: cameras that move alike, and the tracked template where the truth is."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import shaped_joints
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras
from flare_cli.show.honest_rows import OWN, attributed
from flare_cli.show.predicted import (
    AvatarPrediction,
    camera_moved_alike,
    predicted_by_avatar,
    predicted_by_template,
    scale_of_depth,
)
from flare_cli.show.true_lights import TrueLights
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track
from flare_cli.subject.truth import Truth, frames_with_truth, load_truth
from flare_cli.synthetic.recording import studio_camera


def world_turned_and_scaled(camera: Cameras, turn: torch.Tensor, shift: torch.Tensor, scale: float) -> Cameras:
    """The camera that sees `scale * turn @ x + shift` as `camera` sees x."""
    rotation, offset = camera.camera_from_world[0].split([3, 1], 1)
    seen = torch.cat([rotation @ turn.T, scale * offset - rotation @ turn.T @ shift[:, None]], 1)
    return replace(camera, camera_from_world=seen[None])


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_a_view_in_another_world_shows_what_the_true_one_shows(scale: float):
    """Points of one world at their places in another, by cameras whose motion is taken over."""
    angle = 0.4
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    shift = torch.tensor([0.1, -0.2, 0.3])
    true, view = studio_camera(64), studio_camera(64, yaw=60, pitch=20)
    own = world_turned_and_scaled(true, turn, shift, scale)
    points = 0.1 * torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0))
    elsewhere = scale * points @ turn.T + shift
    torch.testing.assert_close(own.project(elsewhere), true.project(points), atol=1e-3, rtol=0)
    moved = camera_moved_alike(own, true, view, scale, depth=0.75)
    torch.testing.assert_close(moved.project(elsewhere), view.project(points), atol=1e-3, rtol=0)


def test_another_lens_is_kept_and_changes_by_the_same_ratio():
    true, view = studio_camera(64), studio_camera(64, yaw=30)
    zoomed = replace(view, intrinsics=view.intrinsics * torch.tensor([2.0, 2.0, 1, 1]))
    own = replace(true, intrinsics=true.intrinsics * 1.1 + torch.tensor([0.0, 0, 3, -2]))
    moved = camera_moved_alike(own, true, zoomed, 1.0, depth=0.75)
    torch.testing.assert_close(moved.intrinsics[0, :2], 2 * own.intrinsics[0, :2])
    centre = zoomed.intrinsics[0, 2:] + 2 * (own.intrinsics[0, 2:] - true.intrinsics[0, 2:])
    torch.testing.assert_close(moved.intrinsics[0, 2:], centre)


@pytest.mark.parametrize(("lens", "size"), [(0.6, 1.0), (1.7, 1.1)])
def test_with_another_lens_the_head_turns_about_the_same_place(lens: float, size: float):
    """A head that a wrong focal length puts nearer, or farther: what all views see in the middle stays there."""
    true, view = studio_camera(64), studio_camera(64, yaw=60)
    middle = torch.zeros(1, 1, 3)
    depth = float(true.camera_from_world[0, 2, 3])
    torch.testing.assert_close(view.project(middle), true.project(middle), atol=1e-3, rtol=0)
    scale = size * lens
    rotation, shift = true.camera_from_world[0].split([3, 1], 1)
    farther = torch.cat([rotation, shift * torch.tensor([[size], [size], [scale]])], 1)
    focal = torch.tensor([lens, lens, 1, 1])
    own = replace(true, camera_from_world=farther[None], intrinsics=true.intrinsics * focal)
    torch.testing.assert_close(own.project(middle), true.project(middle), atol=1e-3, rtol=0)
    moved = camera_moved_alike(own, true, view, scale, depth)
    torch.testing.assert_close(moved.project(middle), view.project(middle), atol=1e-3, rtol=0)
    assert float(moved.camera_from_world[0, 2, 3]) == pytest.approx(scale * depth, rel=1e-3)


def test_the_scale_of_depth_is_the_ratio_of_worlds(subject_with_truth: Subject):
    truth = load_truth(subject_with_truth, frames_with_truth(subject_with_truth), 64, 64)
    assert scale_of_depth(1.25 * truth.maps.depth, truth) == pytest.approx(1.25)
    assert scale_of_depth(0 * truth.maps.depth, truth) == 1


def test_the_template_stands_where_the_truth_is(open_head: HeadModel, subject_with_truth: Subject):
    numbers = frames_with_truth(subject_with_truth)
    truth = load_truth(subject_with_truth, numbers, 64, 64)
    track = subject_with_truth.track
    track = track[torch.isin(track.frames, torch.tensor(numbers))]
    template = predicted_by_template(open_head, track, choose_rasterizer())
    shared = truth.face & (template.coverage > 0)
    assert shared.sum() > 0.95 * truth.face.sum()
    assert (template.depth - truth.maps.depth)[shared].abs().median() < 0.003
    cosine = (template.normal * truth.maps.normal).sum(-1)[shared]
    assert cosine.median() > math.cos(math.radians(8))
    assert template.mesh.vertices.shape == (3, len(open_head.template), 3)
    assert (template.mesh.vertices[..., 2] > 0.5).all()  # before the camera, in its axes


def in_another_world(head: HeadModel, track: Track, turn: torch.Tensor) -> Track:
    """The same film of the same head, tracked in a world that is turned: as a subject that is tracked by itself."""
    rotation = Rotation.from_matrix(turn.double().numpy())
    pose = track.pose.clone()
    root = rotation * Rotation.from_rotvec(track.pose[:, 0].double().numpy())
    pose[:, 0] = torch.from_numpy(root.as_rotvec()).float()
    joint = shaped_joints(head, track.shape, track.expression)[:, 0]
    translation = (joint + track.translation) @ turn.T - joint
    seen, lens = track.camera.camera_from_world[0], track.camera
    turned = torch.cat([seen[:, :3] @ turn.T, seen[:, 3:]], 1)[None]
    return replace(track, pose=pose, translation=translation, camera=replace(lens, camera_from_world=turned))


@pytest.fixture(params=["neural", "explicit"])
def avatar(request, open_head: HeadModel, held_out: Track, tiny_config: Config) -> Avatar:
    """An avatar before its fit, by the kind of its light; an explicit one knows what shadows it."""
    light = replace(tiny_config.light, kind=request.param, visibility=True)
    spec = stage_spec(replace(tiny_config, light=light), tiny_config.stage[0], subdivisions=0)
    avatar = Avatar(open_head, held_out.shape, spec).eval().requires_grad_(False)
    track = held_out
    avatar.learn_visibility(
        avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation), poses=3, rays=64
    )
    return avatar


@pytest.fixture
def held_out(subject_with_truth: Subject) -> Track:
    track = subject_with_truth.track
    return track[torch.isin(track.frames, torch.tensor(frames_with_truth(subject_with_truth)))]


@pytest.fixture
def truth(subject_with_truth: Subject) -> Truth:
    return load_truth(subject_with_truth, frames_with_truth(subject_with_truth), 64, 64)


def prediction_of(avatar: Avatar, track: Track, truth: Truth) -> tuple[AvatarPrediction, TrueLights]:
    lights = TrueLights.of(truth, avatar.light.of_environment).in_world_of(track.camera, truth.camera)
    return predicted_by_avatar(avatar, track, choose_rasterizer(), truth, lights), lights


def test_an_avatar_in_another_world_predicts_the_same(avatar: Avatar, held_out: Track, truth: Truth):
    """Its normals, its pictures under the true lights and from the true cameras, and its mesh."""
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.2, 0.7, -0.1]).as_matrix()).float()
    one = prediction_of(avatar, held_out, truth)[0].prediction
    other = prediction_of(avatar, in_another_world(avatar.head, held_out, turn), truth)[0].prediction
    torch.testing.assert_close(other.mesh.vertices, one.mesh.vertices, atol=1e-5, rtol=0)
    inside = one.coverage == 1
    for a, b in ((one.normal, other.normal), *((one.relit[name], other.relit[name]) for name in one.relit)):
        assert (a - b)[inside].abs().quantile(0.98) < 1e-3
    for name in ("30_0", "0_-20"):
        torch.testing.assert_close(other.views[name].coverage, one.views[name].coverage, atol=0.02, rtol=0)
        assert float(one.views[name].coverage.mean()) > 0.1


def test_own_maps_are_shaded_as_the_avatar_is_drawn(avatar: Avatar, held_out: Track, truth: Truth):
    """Under its own light and the true ones, with what shadows it: inside the outline, where drawing is not blended."""
    predicted, lights = prediction_of(avatar, held_out, truth)
    assert (predicted.maps.visibility is None) == (avatar.spec.light.kind == "neural")
    own, drawn = attributed(predicted, truth, lights)[OWN], predicted.prediction
    inside = drawn.coverage == 1
    for a, b in ((own.colour, drawn.colour), *((own.relit[name], drawn.relit[name]) for name in drawn.relit)):
        assert ((a - b)[inside].abs().amax(-1) > 1e-3).float().mean() < 0.05
