from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.frames import Frames, Pictures
from flare_cli.fit.track.on_pixels import refined_on_pixels
from flare_cli.render.backend import choose_rasterizer
from flare_cli.show.track_pictures import draw_track, srgb_bytes
from flare_cli.subject.track import Track


@pytest.fixture
def drawn(toy_frames, open_head, tiny_config) -> tuple[Avatar, Frames]:
    """An avatar, and its own pictures in six poses, exact to the last bit of a byte."""
    torch.manual_seed(0)
    avatar = Avatar(open_head, toy_frames.track.shape, stage_spec(tiny_config, tiny_config.stage[0]))
    avatar = avatar.eval().requires_grad_(False)
    random = torch.Generator().manual_seed(3)
    turns = torch.zeros_like(toy_frames.track.pose)
    turns[:, 0] = 0.2 * torch.randn(len(turns), 3, generator=random)
    track = replace(toy_frames.track, pose=turns)
    image = torch.cat([d.picture.image for d in draw_track(avatar, track, choose_rasterizer())])
    pictures = Pictures(
        image=srgb_bytes(image[..., :3]), mask=(255 * image[..., 3]).round().byte(), label=toy_frames.pictures.label
    )
    return avatar, Frames(track=track, pictures=pictures)


def position_error(avatar: Avatar, track: Track, true: Track) -> float:
    """Root mean square distance in metres of the head model's vertices."""
    vertices = [
        avatar.posed(expression=t.expression, pose=t.pose, translation=t.translation).vertices for t in (track, true)
    ]
    return float((vertices[0] - vertices[1]).square().sum(-1).mean().sqrt())


def test_known_errors_of_a_track_are_found_on_the_pictures(drawn, tiny_config):
    avatar, frames = drawn
    true, random = frames.track, torch.Generator().manual_seed(4)
    pose, translation = true.pose.clone(), true.translation.clone()
    pose[:, 0] += 0.02 * torch.randn(len(pose), 3, generator=random)
    translation += 0.004 * torch.randn(translation.shape, generator=random)
    given = replace(true, pose=pose, translation=translation)
    before = {name: tensor.clone() for name, tensor in avatar.state_dict().items()}
    settings = replace(tiny_config.track, rate=0.2, prior=1e-5, rotation=0.02, translation=0.006, expression=0.0)
    config = replace(tiny_config, track=settings, stage=(replace(tiny_config.stage[0], batch=2),))
    found = refined_on_pixels(avatar, replace(frames, track=given), config)
    assert position_error(avatar, found, true) < 0.5 * position_error(avatar, given, true)
    for name, tensor in avatar.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name} of a frozen avatar has changed"
