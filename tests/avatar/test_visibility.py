import math
from dataclasses import replace

import pytest
import torch
from support.strand import strand

from flare_cli.avatar.avatar import COVERED, Avatar, Motion
from flare_cli.avatar.storage import load_avatar, save_avatar
from flare_cli.avatar.visibility import softened
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.joints import Joint
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.light.sphere import ONE, even_directions, harmonics
from flare_cli.render.light.visibility import trace_visibility
from flare_cli.synthetic.performance import perform


@pytest.fixture(scope="module")
def performance(open_head) -> dict[str, torch.Tensor]:
    """Talking, smiling and turning."""
    acted = perform(60, seed=0)
    return {
        "expression": acted.expression(open_head),
        "pose": acted.pose(open_head),
        "translation": acted.translation,
    }


def make(head, config, **settings) -> Avatar:
    light = replace(config.light, **{"kind": "explicit", "visibility": True, **settings})
    return Avatar(head, torch.zeros(head.n_shape), stage_spec(replace(config, light=light), config.stage[0]))


def traced(avatar: Avatar, motion: Motion, rays: int = 96) -> torch.Tensor:
    with torch.no_grad():
        posed = avatar.move(motion, avatar.corrections())
        return trace_visibility(
            posed.vertices[0], posed.normals[0], posed.vertices[0], avatar.mesh.topology.faces, rays
        )


def seen(values: torch.Tensor) -> torch.Tensor:
    """As shading takes it."""
    values = values.clamp(0, 1)
    return values**2 * (3 - 2 * values)


def difference(ours: torch.Tensor, truth: torch.Tensor, normals: torch.Tensor) -> float:
    """Root mean square difference of visibility over directions, weighted by n.l."""
    directions = even_directions(128)
    basis, weight = harmonics(directions).T, (normals @ directions.T).clamp(min=0)
    squared = (seen(ours @ basis) - seen(truth @ basis)).square()
    return ((weight * squared).sum() / weight.sum()).sqrt().item()


def off_eyeballs(head) -> torch.Tensor:
    return head.weights[:, [Joint.EYE_LEFT, Joint.EYE_RIGHT]].sum(1) < 0.5


def test_a_new_avatar_sees_everything(open_head, tiny_config, performance):
    avatar = make(open_head, tiny_config)
    visibility = avatar.posed(**{name: values[:2] for name, values in performance.items()}).visibility
    torch.testing.assert_close(visibility[..., 0], torch.full_like(visibility[..., 0], ONE), rtol=1e-3, atol=1e-3)
    assert visibility[..., 1:].abs().max() < 1e-2


def test_one_traced_pose_is_repeated_and_turns_with_the_head(open_head, tiny_config, performance):
    avatar = make(open_head, tiny_config)
    motion = avatar.motion(**{name: values[20:21] for name, values in performance.items()})
    avatar.learn_visibility(motion, poses=1, rays=96)
    truth, off = traced(avatar, motion), off_eyeballs(open_head)
    ours = avatar.move(motion, avatar.corrections())
    assert difference(ours.visibility[0][off], truth[off], ours.normals[0][off]) < 2e-3  # half floats
    turned = motion.turned(rotation_from_axis_angle(torch.tensor([[0.3, 1.2, -0.4]])))
    ours, truth = avatar.move(turned, avatar.corrections()), traced(avatar, turned, rays=512)
    assert difference(ours.visibility[0][off], truth[off], ours.normals[0][off]) < 0.06  # other rays


def test_an_eye_that_turns_is_lit_as_it_lies_between_the_lids(open_head, tiny_config):
    """All that was traced looks ahead. What a gaze brings forth from behind the lids was black in every pose."""
    avatar = make(open_head, tiny_config)
    pose = torch.zeros(3, 5, 3)
    pose[1:, [Joint.EYE_LEFT, Joint.EYE_RIGHT], 1] = torch.tensor([[0.45], [-0.45]])
    motion = avatar.motion(expression=torch.zeros(3, open_head.n_expression), pose=pose, translation=torch.zeros(3, 3))
    avatar.learn_visibility(motion[:1], poses=1, rays=96)
    for aside in (motion[1:2], motion[2:3]):
        ours, truth = avatar.move(aside, avatar.corrections()), traced(avatar, aside)
        ahead = (truth * harmonics(ours.normals[0])).sum(-1)
        between_lids = ~off_eyeballs(open_head) & (ahead > 0.8)
        assert between_lids.sum() > 30
        lit = ours.visibility[0][between_lids]
        assert difference(lit, truth[between_lids], ours.normals[0][between_lids]) < 0.2
        assert (lit * harmonics(ours.normals[0][between_lids])).sum(-1).min() > 0.7


def test_poses_that_were_not_traced_are_met(open_head, tiny_config, performance):
    """With 12 poses and 96 rays 0.05 off, where the nine numbers themselves are 0.17 off the truth."""
    avatar = make(open_head, tiny_config)
    motion = avatar.motion(**performance)
    avatar.learn_visibility(motion[:48], poses=12, rays=96)
    for moment in (5, 30, 50, 56):  # the last two are of a part that was not seen
        one = motion[moment : moment + 1]
        ours = avatar.move(one, avatar.corrections())
        off, truth = off_eyeballs(open_head), traced(avatar, one)
        assert difference(ours.visibility[0][off], truth[off], ours.normals[0][off]) < 0.09


def test_a_motion_beyond_the_track_counts_as_the_end_of_the_track(open_head, tiny_config, performance):
    avatar = make(open_head, tiny_config)
    motion = avatar.motion(**performance)
    avatar.learn_visibility(motion, poses=6, rays=64)
    far = replace(motion[:1], factors=100 * motion.factors[10:11])
    farther = replace(motion[:1], factors=1000 * motion.factors[10:11])
    torch.testing.assert_close(
        avatar.visibility(far.factors, far.head_rotation()), avatar.visibility(farther.factors, far.head_rotation())
    )
    assert avatar.visibility(far.factors, far.head_rotation()).abs().max() < 6 * ONE


def test_a_mouth_that_opens_wider_than_on_the_track_is_lit_as_traced(open_head, tiny_config, performance):
    """On the track the jaw stays shut."""
    avatar = make(open_head, tiny_config)
    shut = {**performance, "pose": performance["pose"].clone()}
    shut["pose"][:, 2] = 0
    avatar.learn_visibility(avatar.motion(**shut), poses=12, rays=96)
    inside = open_head.regions["teeth"] | open_head.regions["tongue"]
    pose = torch.zeros(1, 5, 3)
    for jaw in (0.15, 0.3):
        pose[0, 2, 0] = jaw
        motion = avatar.motion(expression=shut["expression"][:1], pose=pose, translation=torch.zeros(1, 3))
        ours = avatar.move(motion, avatar.corrections())
        truth = traced(avatar, motion)
        assert difference(ours.visibility[0][inside], truth[inside], ours.normals[0][inside]) < 0.1


def test_still_frames_teach_one_constant(open_head, tiny_config):
    """Nothing moves: every factor is left out but the first, and the jaw's turn, which is traced beside the track."""
    avatar = make(open_head, tiny_config)
    still = {"expression": torch.zeros(5, open_head.n_expression), "pose": torch.zeros(5, 5, 3)}
    motion = avatar.motion(**still, translation=torch.zeros(5, 3))
    avatar.learn_visibility(motion, poses=4, rays=64)
    turned = 1 + 3 + 0
    assert {int(k) for k in avatar.visibility.coefficients.flatten(1).any(1).nonzero()} == {0, turned}
    ours, truth = avatar.move(motion[:1], avatar.corrections()), traced(avatar, motion[:1], 64)
    off = off_eyeballs(open_head)
    above = off & (open_head.template[:, 1] > 0.03)  # where no jaw throws a shadow: that is not linear in its turn
    assert difference(ours.visibility[0][above], truth[above], ours.normals[0][above]) < 2e-3
    assert difference(ours.visibility[0][off], truth[off], ours.normals[0][off]) < 0.04


def test_spread_out_poses_are_farther_apart_than_evenly_spaced_ones(open_head, tiny_config, performance):
    avatar = make(open_head, tiny_config)
    motion = avatar.motion(**performance)
    avatar.visibility.follow(motion.factors, open_head.expression_dirs.flatten(0, 1).norm(dim=0))
    chosen = avatar.visibility.spread_out(motion.factors, 8)
    assert len(set(chosen.tolist())) == 8
    values = (motion.factors - avatar.visibility.centre) @ avatar.visibility.basis
    deviation = values.square().mean(0).sqrt()
    torch.testing.assert_close(deviation, torch.tensor([1.0] * 4 + [0.0] * 2 + [1.0] * 6))  # jaws do not roll here

    def nearest(points: torch.Tensor) -> float:
        return (torch.cdist(points, points) + 1e9 * torch.eye(len(points))).min().item()

    assert nearest(values[chosen]) > nearest(values[:: math.ceil(len(values) / 8)])


def test_what_was_learned_survives_the_file_and_a_subdivision(open_head, tiny_config, performance, tmp_path):
    avatar = make(open_head, tiny_config)
    motion = avatar.motion(**performance)
    avatar.learn_visibility(motion, poses=3, rays=32)
    save_avatar(tmp_path / "avatar.safetensors", avatar, {})
    loaded, _ = load_avatar(tmp_path / "avatar.safetensors")
    assert loaded.spec == avatar.spec
    before = avatar.move(motion[:2], avatar.corrections()).visibility
    torch.testing.assert_close(loaded.move(motion[:2], loaded.corrections()).visibility, before, rtol=0, atol=0)
    avatar.subdivide_mesh()
    after = avatar.move(motion[:2], avatar.corrections()).visibility
    assert after.shape[1] == len(avatar.mesh.offsets)
    torch.testing.assert_close(after[:, : before.shape[1]], before, rtol=0, atol=0)


def test_flame_heads_have_visibility_too(flame_head, tiny_config):
    avatar = make(flame_head, tiny_config)
    pose = torch.zeros(4, 5, 3)
    pose[:, 2, 0] = torch.linspace(0, 0.4, 4)
    motion = avatar.motion(expression=torch.zeros(4, flame_head.n_expression), pose=pose, translation=torch.zeros(4, 3))
    avatar.learn_visibility(motion, poses=3, rays=64)
    assert avatar.move(motion, avatar.corrections()).visibility.isfinite().all()


def test_what_is_below_hair_sees_what_it_would_without(open_head, tiny_config, performance):
    bare, hairy = (make(h, tiny_config) for h in (open_head, with_hanging_hair(open_head, strand(open_head))))
    own, rest = len(open_head.template), {name: values[20:21] for name, values in performance.items()}
    posed, alone = (avatar.posed(**rest) for avatar in (hairy, bare))
    ours, without = hairy.traced_visibility(posed, 96)[0, :own], bare.traced_visibility(alone, 96)[0]
    truth = traced(hairy, hairy.motion(**rest))[:own]
    under = (truth * harmonics(posed.normals[0, :own])).sum(1) < COVERED
    torch.testing.assert_close(ours[under], without[under], rtol=0, atol=1e-3)
    assert ours[~under].equal(truth[~under])
    assert (truth[under] - without[under]).abs().max() > 0.1


def test_values_are_shared_by_what_is_near_and_by_nothing_else():
    rows = torch.tensor([[0.0, 0.002 * i, 0.0] for i in range(40)])
    places = torch.cat([rows, rows + torch.tensor([0.2, 0.0, 0.0])])
    stripes = torch.cat([(torch.arange(40) % 2).float(), torch.full((40,), 5.0)])[None, :, None]
    found = softened(stripes, places, 0.01)[0, :, 0]
    assert (found[5:35] - 0.5).abs().max() < 0.02
    torch.testing.assert_close(found[40:], torch.full((40,), 5.0))
