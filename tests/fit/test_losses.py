from pathlib import Path

import pytest
import torch

from flare_cli.avatar.deformer import Deformer
from flare_cli.fit.frames import split_frames
from flare_cli.fit.losses import (
    direction_prior,
    light_level,
    white_light,
)
from flare_cli.subject.folder import Subject


def test_grey_light_is_white_whatever_its_level():
    grey = torch.rand(50, 1).expand(50, 3)
    assert white_light(grey) < 1e-6
    assert white_light(torch.tensor([[1.0, 0.5, 0.0]])) == pytest.approx(1 / 3)


def test_light_level_is_zero_at_one_and_symmetric_in_stops():
    assert light_level(torch.ones(10, 3)) == 0
    assert light_level(torch.full((10, 3), 2.0)) == pytest.approx(float(light_level(torch.full((10, 3), 0.5))))


def test_direction_prior_is_in_the_published_unit():
    deformer = Deformer(width=8, depth=1, n_expression=2, n_pose=4, n_joints=5)
    with torch.no_grad():
        deformer.layers[-1].bias.fill_(0.1)  # a millimetre
    corrections = deformer(torch.rand(7, 3))
    assert direction_prior(corrections, corrections.pose).item() == pytest.approx((0.001 * 4 * 10) ** 2)


def test_held_out_frames_are_the_last_and_never_trained(toy_frames):
    training, held_out = split_frames(Subject(folder=Path(), track=toy_frames.track), 0.34, 2)
    assert training.frames.tolist() == [1, 3]
    assert held_out.frames.tolist() == [5, 6]


def test_a_recordings_own_split_is_kept(toy_frames):
    subject = Subject(folder=Path(), track=toy_frames.track, held_out=(1, 4))
    training, held_out = split_frames(subject, 0.34, 2)
    assert training.frames.tolist() == [2, 5]
    assert held_out.frames.tolist() == [1, 4]
