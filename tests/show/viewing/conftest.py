"""A studio with an untrained avatar that still has every material, light and shadow."""

from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.render.backend import choose_rasterizer
from flare_cli.show.filming.performance import Performance
from flare_cli.show.viewing.studio import Studio
from flare_cli.subject.track import Track


@pytest.fixture
def track(toy_frames) -> Track:
    """Six moments of a head that moves, without pictures."""
    generator = torch.Generator().manual_seed(0)
    own = toy_frames.track
    return replace(
        own,
        expression=0.4 * torch.rand(own.expression.shape, generator=generator),
        pose=0.1 * torch.randn(own.pose.shape, generator=generator),
        translation=0.01 * torch.randn(own.translation.shape, generator=generator),
    )


@pytest.fixture
def avatar(open_head, tiny_config, track: Track) -> Avatar:
    torch.manual_seed(0)
    light = replace(tiny_config.light, kind="explicit", visibility=True)
    spec = stage_spec(replace(tiny_config, light=light), tiny_config.stage[0])
    made = Avatar(open_head, track.shape, spec).eval().requires_grad_(False)
    for parameter in (*made.material.parameters(), made.light.detail):
        parameter += 0.3 * torch.randn(parameter.shape)
    made.deformer.layers[-1].weight += 0.02 * torch.randn(made.deformer.layers[-1].weight.shape)
    motion = made.motion(expression=track.expression, pose=track.pose, translation=track.translation)
    made.learn_visibility(motion, poses=2, rays=32)
    return made


@pytest.fixture
def own(track: Track) -> Performance:
    return Performance(track=track, time=torch.arange(len(track)) / track.fps)


@pytest.fixture
def studio(avatar: Avatar, own: Performance) -> Studio:
    return Studio(avatar, choose_rasterizer(), own, {})
