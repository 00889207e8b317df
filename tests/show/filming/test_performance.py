"""The same motion at another rate: even motion stays even, gaps are filled, pictures go with their moments."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_cli.head.joints import Joint
from flare_cli.show.filming.performance import Performance, driven_performance, frame_times, recorded_performance
from flare_cli.subject.folder import FrameQuality, Subject


@pytest.fixture
def turning(toy_frames) -> Performance:
    """A head that turns by a tenth of a radian a frame about a slanted axis, while one expression grows."""
    track = toy_frames.track
    n = torch.arange(len(track)).float()
    pose, expression = track.pose.clone(), track.expression.clone()
    pose[:, Joint.NECK] = 0.1 * n[:, None] * torch.tensor([0.6, 0.8, 0.0])
    expression[:, 3] = 0.1 * n
    pictures = tuple(Path(f"{i}.png") for i in range(len(track)))
    track = replace(track, pose=pose, expression=expression)
    return Performance(track=track, time=n / track.fps, pictures=pictures)


def test_even_motion_at_twice_the_rate_is_even(turning: Performance):
    finer = turning.resampled(2 * turning.track.fps)
    assert len(finer) == 2 * len(turning)
    steps = torch.arange(len(finer)).clamp(max=2 * len(turning) - 2) / 2  # the last frame stands for two
    torch.testing.assert_close(finer.track.expression[:, 3], 0.1 * steps)
    expected = 0.1 * steps[:, None] * torch.tensor([0.6, 0.8, 0.0])
    torch.testing.assert_close(finer.track.pose[:, Joint.NECK], expected, atol=1e-6, rtol=0)
    assert finer.track.fps == 50
    assert finer.pictures is not None
    assert [picture.stem for picture in finer.pictures[:4]] == ["0", "1", "1", "2"]  # a half is rounded up


def test_its_own_rate_changes_nothing(turning: Performance):
    same = turning.resampled(turning.track.fps)
    torch.testing.assert_close(same.track.expression, turning.track.expression, atol=1e-6, rtol=0)
    torch.testing.assert_close(same.track.pose, turning.track.pose, atol=1e-6, rtol=0)
    assert same.pictures == turning.pictures


def test_frames_that_are_missing_are_filled_in(turning: Performance):
    gap = turning[torch.tensor([0, 1, 4, 5])]
    filled = gap.resampled(gap.track.fps)
    torch.testing.assert_close(filled.track.expression, turning.track.expression, atol=1e-6, rtol=0)
    torch.testing.assert_close(filled.track.pose, turning.track.pose, atol=1e-6, rtol=0)


def test_nothing_is_mixed_across_a_cut(turning: Performance):
    camera = turning.track.camera
    two = replace(
        camera, intrinsics=camera.intrinsics.repeat(2, 1), camera_from_world=camera.camera_from_world.repeat(2, 1, 1)
    )
    cut = replace(turning, track=replace(turning.track, camera=two, video=torch.tensor([0, 0, 0, 1, 1, 1])))
    finer = cut.resampled(100).track
    assert finer.video is not None
    at_cut = (finer.expression[:, 3] > 0.2001) & (finer.expression[:, 3] < 0.2999)
    assert not at_cut.any()
    torch.testing.assert_close(finer.video, (finer.expression[:, 3] > 0.25).long())


def test_there_and_back_has_neither_end_twice(turning: Performance):
    assert (turning.there_and_back().track.frames - 1).tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]


def test_times_are_those_of_the_video_where_they_are_known(toy_frames):
    track = toy_frames.track[torch.tensor([0, 1, 5])]
    quality = tuple(FrameQuality(number=n, time=n * 0.1, error=0.0, confidence=1.0) for n in range(1, 7))
    subject = Subject(folder=Path("me"), track=track, quality=quality)
    torch.testing.assert_close(frame_times(subject), torch.tensor([0.1, 0.2, 0.6]))
    torch.testing.assert_close(frame_times(replace(subject, quality=())), torch.tensor([0, 1 / 25, 2 / 25]))
    assert recorded_performance(subject).pictures == tuple(Path(f"me/image/{n}.png") for n in (1, 2, 6))
    assert driven_performance(track, None).pictures is None
