"""Heads drawn ahead, on a track of a head that moves to the right."""

import math

import numpy as np
import pytest
import torch

from flare_cli.data.crop import Crop
from flare_cli.head.open_head import load_open_head
from flare_cli.render.camera import Cameras
from flare_cli.subject.track import Track
from flare_cli.track.label.head_projector import HeadProjector
from flare_cli.track.stages.drawn_heads import drawn_frames
from flare_cli.track.stages.landmarks import FaceLandmarks

SIZE, FRAMES, PIXELS_A_FRAME = 64, 5, 2.0
FOCAL, DEPTH = 110.0, 0.8


@pytest.fixture(scope="module")
def head():
    return load_open_head()


@pytest.fixture(scope="module")
def track(head) -> Track:
    translation = torch.zeros(FRAMES, 3)
    translation[:, 0] = torch.arange(FRAMES) * PIXELS_A_FRAME * DEPTH / FOCAL
    return Track(
        head=head.name,
        frames=torch.tensor([1, 2, 4, 5, 7]),
        shape=torch.zeros(head.n_shape),
        expression=torch.zeros(FRAMES, head.n_expression),
        pose=torch.zeros(FRAMES, 5, 3),
        translation=translation,
        camera=Cameras(
            intrinsics=torch.tensor([[FOCAL, FOCAL, SIZE / 2, SIZE / 2]]),
            camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, DEPTH]]]),
            height=SIZE,
            width=SIZE,
        ),
        fps=25.0,
    )


@pytest.fixture(scope="module")
def landmarks() -> FaceLandmarks:
    points = np.zeros((7, 478, 3), np.float32)
    points[:, :, 0] = np.arange(7)[:, None]
    scores, times = np.ones(7), np.arange(7) / 25
    return FaceLandmarks(
        points=points,
        scores=scores,
        times=times,
        shots=np.zeros(7, int),
        background=np.zeros((7, 3)),
        height=SIZE,
        width=SIZE,
        fps=25.0,
        warning="",
    )


CROP = Crop(x=0, y=0, side=SIZE, size=SIZE)


def test_several_heads_drawn_at_once_are_those_drawn_one_by_one(head, track):
    project = HeadProjector(head)
    for k, seen in enumerate(project.several(track)):
        alone = project(track, k)
        # Sums over a batch may be rounded otherwise: a pixel on an edge may go to the other triangle.
        assert (seen.regions != alone.regions).mean() < 1e-3
        assert (seen.shading != alone.shading).mean() < 1e-3
        assert np.allclose(seen.rim, alone.rim, atol=1e-3)


def test_the_drawn_head_moves_as_the_camera_says(head, track):
    rim, solid = [], []
    for seen in HeadProjector(head).several(track):
        rim.append(seen.rim[:, 0].mean())
        solid.append(np.argwhere(seen.regions > 0)[:, 1].mean())
    assert np.diff(solid) == pytest.approx(np.full(FRAMES - 1, PIXELS_A_FRAME), abs=0.3)
    assert all(step > 0 and not math.isnan(step) for step in np.diff(rim))


def test_frames_come_in_order_with_their_own_landmarks(head, track, landmarks):
    frames = list(drawn_frames(head, track, landmarks, CROP))
    assert [frame.number for frame in frames] == track.frames.tolist()
    assert [frame.points[0, 0] + 1 for frame in frames] == track.frames.tolist()


def test_only_wanted_frames_are_drawn(head, track, landmarks):
    frames = list(drawn_frames(head, track, landmarks, CROP, {4, 7}))
    assert [frame.number for frame in frames] == [4, 7]
    assert np.array_equal(frames[1].head.regions, HeadProjector(head)(track, 4).regions)
