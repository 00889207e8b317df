"""What differs between the frames of a recording, and between recordings, beside the person: exposure and light."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.fitted import fitted

from flare_cli.avatar.light import ExplicitLight
from flare_cli.config.schema import Config, ExposureSettings
from flare_cli.fit.frames import Frames
from flare_cli.fit.track.exposure import FrameExposure
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.colour import linear_from_srgb
from flare_cli.show.track_pictures import draw_track, srgb_bytes

LOOKING_AT_THE_CAMERA = torch.tensor([[0.0, 0.0, 1.0]])


def longer(config: Config, steps: int, **changes: object) -> Config:
    """A fit in which light and colours, but not the mesh, have time to settle."""
    stage = replace(config.stage[0], steps=steps, batch=2, trains=("material", "light"), subdivide_at=0)
    return replace(config, stage=(stage,), light=replace(config.light, visibility=False, directions=16), **changes)


def multiplied(frames: Frames, gains: torch.Tensor) -> Frames:
    """The frames as a camera with these gains (N, 3) on linear radiance takes them."""
    radiance = linear_from_srgb(frames.pictures.srgb()) * gains[:, None, None]
    return replace(frames, pictures=replace(frames.pictures, image=srgb_bytes(radiance)))


def test_gains_of_frames_are_found(toy_frames, open_head, tiny_config, tmp_path: Path):
    gains = torch.ones(6, 3)
    gains[1], gains[2], gains[3, 0], gains[4, 2] = 0.92, 1.08, 1.05, 0.94
    recorded = multiplied(toy_frames, 0.7 * gains)
    config = longer(tiny_config, 140, exposure=ExposureSettings(refine=True, rate=0.5))
    result = fitted(recorded, open_head, config, tmp_path)
    assert result.exposure is not None
    found = result.exposure / result.exposure.log().mean(0).exp()
    torch.testing.assert_close(found, gains / gains.log().mean(0).exp(), rtol=0.04, atol=0)


def test_gains_begin_at_one_and_keep_their_mean(toy_frames):
    exposure = FrameExposure(toy_frames.track, ExposureSettings())
    assert (exposure.gains() == 1).all()
    with torch.no_grad():
        exposure.table.normal_(std=3.0)
    torch.testing.assert_close(exposure.gains().log().mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(exposure.gains(torch.tensor([4, 0])), exposure.gains()[[4, 0]])


@pytest.mark.parametrize("per_video", [True, False])
def test_each_video_has_its_light(toy_frames, open_head, tiny_config, tmp_path: Path, per_video: bool):
    """One person, filmed in two rooms of which one has half the light."""
    video = torch.tensor([2, 2, 2, 5, 5, 5])
    gains = torch.where(video[:, None] == 5, 0.5, torch.ones(3))
    camera = toy_frames.track.camera.expand(6)
    frames = replace(multiplied(toy_frames, 0.8 * gains), track=replace(toy_frames.track, camera=camera, video=video))
    config = longer(tiny_config, 120 if per_video else 40)
    config = replace(config, light=replace(config.light, per_video=per_video))
    avatar = fitted(frames, open_head, config, tmp_path).avatar
    assert isinstance(avatar.light, ExplicitLight)
    assert avatar.light.videos == ((2, 5) if per_video else (0,))
    with torch.no_grad():
        first, second = (avatar.light.of_video(v).diffuse(LOOKING_AT_THE_CAMERA)[0] for v in (2, 5))
        drawn = torch.cat([d.picture.colour for d in draw_track(avatar, frames.track, choose_rasterizer())])
    wanted = torch.full((3,), 0.5 if per_video else 1.0)
    torch.testing.assert_close(second / first, wanted, rtol=0.1, atol=0)
    middles = drawn[:, 20:26, 20:26].mean((1, 2))
    torch.testing.assert_close(middles[3] / middles[2], wanted, rtol=0.1, atol=0)
