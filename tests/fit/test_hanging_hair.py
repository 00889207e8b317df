import math
from dataclasses import replace

import pytest
import torch
from support.fitted import StoppedError, fitted

from flare_cli.config.schema import Config
from flare_cli.data.celebamask import Label
from flare_cli.fit.frames import Frames, Pictures
from flare_cli.fit.hanging_hair import RADIUS, find_hanging_hair
from flare_cli.head.joints import Joint
from flare_cli.head.model import HangingHair, HeadModel
from flare_cli.head.skinning import joint_transforms, pose_vertices
from flare_cli.render.backend import choose_rasterizer

SIZE, FRAMES, WIDE, OPEN = 160, 13, 0.105, math.radians(110)


def tube(head: HeadModel, top: float, bottom: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Part of a cylinder of radius WIDE about the axis between the ears, open before the face."""
    axis = head.template[head.regions["ears"], 2].mean()
    angle = torch.linspace(-OPEN, OPEN, 90)
    ring = torch.stack([WIDE * angle.sin(), torch.zeros(90), axis - WIDE * angle.cos()], 1)
    places = torch.cat([ring + torch.tensor([0, height, 0]) for height in (top, bottom)])
    one = torch.arange(89)
    faces = torch.cat([torch.stack([one, one + 1, one + 90], 1), torch.stack([one + 1, one + 91, one + 90], 1)])
    return places, faces


@pytest.fixture(scope="module")
def rasterizer():
    return choose_rasterizer("warp", torch.device("cpu"))


def filmed(head: HeadModel, frames: Frames, rasterizer, top: float, bottom: float) -> Frames:
    """A head with a tube of hair about it that turns by 60 degrees to both sides, as labels."""
    old, zero = frames.track, torch.zeros
    pose = zero(FRAMES, len(head.parents), 3)
    pose[:, Joint.ROOT, 1] = torch.linspace(-1, 1, FRAMES) * math.pi / 3
    track = replace(
        old,
        frames=torch.arange(FRAMES),
        expression=zero(FRAMES, head.n_expression),
        pose=pose,
        translation=zero(FRAMES, 3),
        shape=zero(head.n_shape),
        video=None,
    ).resized(SIZE, SIZE)
    places, faces = tube(head, top, bottom)
    own = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    turn = joint_transforms(head.joints, pose, head.parents)[:, Joint.ROOT, :3]
    hair = places @ turn[:, :, :3].transpose(1, 2) + turn[:, None, :, 3]
    cameras, both = track.cameras(), torch.cat([head.faces, len(head.template) + faces])
    seen = rasterizer.rasterize(cameras.clip(torch.cat([own, hair], 1)), both, SIZE, SIZE).triangle
    label = torch.where(seen >= len(head.faces), int(Label.HAIR), torch.where(seen >= 0, int(Label.SKIN), 0)).byte()
    image = torch.zeros(FRAMES, SIZE, SIZE, 3, dtype=torch.uint8)
    return Frames(track=track, pictures=Pictures(image=image, mask=255 * (label > 0).byte(), label=label))


def radius_of(hair: HangingHair, head: HeadModel) -> torch.Tensor:
    axis = head.template[head.regions["ears"], 2].mean()
    return (hair.places[:, 0].square() + (hair.places[:, 2] - axis).square()).sqrt()


def test_the_radius_of_a_cylinder_of_hair_is_found(open_head, toy_frames, rasterizer):
    hair = find_hanging_hair(filmed(open_head, toy_frames, rasterizer, 0.06, -0.14), open_head, rasterizer)
    assert hair is not None
    x, y, z = hair.places.unbind(1)
    angle = torch.atan2(x, open_head.template[open_head.regions["ears"], 2].mean() - z).abs()
    beside = (y < -0.02) & (y > -0.11) & (angle > math.radians(60)) & (angle < math.radians(95))
    assert beside.sum() > 40
    assert (radius_of(hair, open_head)[beside] - WIDE).abs().max() < 1.5 * RADIUS
    assert abs(float(y.min()) + 0.14) < 0.025  # it ends where the hair does


def test_faces_of_hair_look_outwards_and_its_border_is_within_the_head(open_head, toy_frames, rasterizer):
    hair = find_hanging_hair(filmed(open_head, toy_frames, rasterizer, 0.06, -0.14), open_head, rasterizer)
    assert hair is not None
    a, b, c = hair.places[hair.faces].unbind(1)
    normal, middle = torch.linalg.cross(b - a, c - a), (a + b + c) / 3
    outwards = (normal[:, [0, 2]] * middle[:, [0, 2]]).sum(1)
    assert (outwards > 0).float().mean() > 0.9
    assert torch.allclose(hair.weights.sum(1), torch.ones(len(hair.places)), atol=1e-5)
    assert not hair.weights[:, Joint.JAW :].any()


@pytest.mark.parametrize("bottom", [-0.05, -0.06])
def test_hair_that_ends_at_the_lobes_does_not_hang(open_head, toy_frames, rasterizer, bottom):
    frames = filmed(open_head, toy_frames, rasterizer, 0.06, bottom)
    assert find_hanging_hair(frames, open_head, rasterizer) is None


def test_what_is_taken_for_hair_at_a_collar_does_not_hang(open_head, toy_frames, rasterizer):
    frames = filmed(open_head, toy_frames, rasterizer, -0.09, -0.16)
    assert find_hanging_hair(frames, open_head, rasterizer) is None


def test_nobody_without_hair_has_any(open_head, toy_frames, rasterizer):
    assert find_hanging_hair(toy_frames, open_head, rasterizer) is None


def without(config: Config) -> Config:
    return replace(config, mesh=replace(config.mesh, hanging_hair=False))


def test_a_fit_moves_the_hair_and_goes_on_from_its_checkpoint_with_it(
    open_head, toy_frames, rasterizer, tiny_config, tmp_path
):
    frames = filmed(open_head, toy_frames, rasterizer, 0.06, -0.14)
    with pytest.raises(StoppedError):
        fitted(frames, open_head, tiny_config, tmp_path, stop_after=3)
    avatar = fitted(frames, open_head, tiny_config, tmp_path).avatar
    hair = avatar.head.hanging_hair
    assert hair is not None
    own = len(open_head.template)
    assert avatar.neutral_vertices()[own:].shape == hair.places.shape
    assert avatar.mesh.offsets[own:].abs().max() > 0
    assert fitted(frames, open_head, without(tiny_config), tmp_path / "bare").avatar.head.hanging_hair is None


def test_who_has_no_hair_that_hangs_is_fitted_to_the_same_bits(
    open_head, toy_frames, rasterizer, tiny_config, tmp_path
):
    frames = filmed(open_head, toy_frames, rasterizer, 0.06, -0.05)
    looked, bare = (
        fitted(frames, open_head, config, tmp_path / name).avatar.state_dict()
        for name, config in (("looked", tiny_config), ("bare", without(tiny_config)))
    )
    assert looked.keys() == bare.keys()
    assert all(looked[name].equal(bare[name]) for name in bare)
