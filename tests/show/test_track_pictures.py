import math

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.light.environment import prefilter
from flare_cli.show.filming.backgrounds import EnvironmentBehind
from flare_cli.show.track_pictures import draw_track


def test_a_light_turned_by_frames_is_the_light_turned_beforehand(open_head, tiny_config, toy_frames):
    torch.manual_seed(0)
    avatar = Avatar(open_head, toy_frames.track.shape, stage_spec(tiny_config, tiny_config.stage[0]))
    track, rasterizer = toy_frames.track[:3], choose_rasterizer()
    light = prefilter(torch.rand(16, 32, 3))
    angles = torch.tensor([0.0, 0.7, -2.5])
    (together,) = draw_track(
        avatar, track, rasterizer, light=light, background=EnvironmentBehind(light), turned=angles, batch=3
    )
    for i, angle in enumerate(angles.tolist()):
        turned = light.rotate(angle)
        (alone,) = draw_track(avatar, track[i : i + 1], rasterizer, light=turned, background=EnvironmentBehind(turned))
        difference = (together.picture.colour[i] - alone.picture.colour[0]).abs()
        assert difference.mean() < 1e-3
        assert together.picture.colour[i].std() > 0.05
    assert math.isfinite(float(together.picture.colour.sum()))
