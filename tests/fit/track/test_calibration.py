"""Corrections learnt on the first 60 frames of 80, against errors that are known."""

from dataclasses import replace

import pytest
import torch

from flare_cli.fit.track.calibration import calibrated
from flare_cli.render.camera import Cameras
from flare_cli.subject.track import Track

N, TRAINED = 80, slice(0, 60)


@pytest.fixture
def true(open_head) -> Track:
    seconds = torch.arange(N)[:, None] / 25
    E = open_head.n_expression
    pace = torch.linspace(0.7, 2.1, E)
    return Track(
        head="open-head",
        frames=torch.arange(1, N + 1),
        shape=torch.zeros(open_head.n_shape),
        expression=0.4 * torch.sin(2 * pace[:E] * seconds) + 0.2 * torch.sin(7 * pace[:E] * seconds),
        pose=(0.2 * torch.sin(pace[:15] * seconds)).unflatten(1, (5, 3)),
        translation=0.01 * torch.sin(pace[:3] * seconds),
        camera=Cameras(
            intrinsics=torch.tensor([[500.0, 500, 128, 128]]),
            camera_from_world=torch.eye(3, 4)[None],
            height=256,
            width=256,
        ),
        fps=25.0,
    )


def rest(track: Track, name: str) -> torch.Tensor:
    return getattr(track, name)[TRAINED.stop :]


def test_refined_frames_are_kept_and_an_offset_is_carried_to_the_others(true: Track, open_head):
    offset = 0.03 * torch.tensor([0.0, 0, 1, 1, 1])[:, None]  # a turn of the whole head would move its middle unevenly
    given = replace(true, pose=true.pose + offset, translation=true.translation - 0.002)
    whole = calibrated(given, true[TRAINED], open_head)
    for name in ("pose", "expression", "translation"):
        assert torch.equal(getattr(whole, name)[TRAINED], getattr(true, name)[TRAINED])
        torch.testing.assert_close(rest(whole, name), rest(true, name), rtol=0, atol=1e-5)


def test_a_tracker_that_shows_half_of_a_smile_is_corrected_in_frames_never_refined(true: Track, open_head):
    given = replace(true, expression=0.5 * true.expression)
    whole = calibrated(given, true[TRAINED], open_head)
    before, after = (float((rest(t, "expression") - rest(true, "expression")).square().mean()) for t in (given, whole))
    assert after < 0.01 * before


def test_jitter_is_halved_without_a_look_at_pixels(true: Track, open_head):
    noise = 0.05 * torch.randn(true.expression.shape, generator=torch.Generator().manual_seed(0))
    given = replace(true, expression=true.expression + noise)
    whole = calibrated(given, true[TRAINED], open_head)
    before, after = (float((rest(t, "expression") - rest(true, "expression")).square().mean()) for t in (given, whole))
    assert after < 0.5 * before


def test_nothing_is_learnt_from_residuals_that_follow_nothing(true: Track, open_head):
    noise = 0.05 * torch.randn(true.expression.shape, generator=torch.Generator().manual_seed(0))
    refined = replace(true, expression=true.expression + noise)[TRAINED]
    change = rest(calibrated(true, refined, open_head), "expression") - rest(true, "expression")
    assert float(change.square().mean().sqrt()) < 0.25 * 0.05


def test_the_refined_camera_holds_for_all_frames(true: Track, open_head):
    camera = replace(true.camera, intrinsics=1.1 * true.camera.intrinsics)
    assert torch.equal(
        calibrated(true, replace(true[TRAINED], camera=camera), open_head).camera.intrinsics, camera.intrinsics
    )
