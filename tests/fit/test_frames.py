from pathlib import Path

import numpy as np

from flare_cli.data.celebamask import OCCLUDED, Label
from flare_cli.data.image import write_png
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.subject.folder import Subject


def test_held_out_frames_are_the_last_and_never_trained(toy_frames):
    training, held_out = split_frames(Subject(folder=Path(), track=toy_frames.track), 0.34, 2)
    assert training.frames.tolist() == [1, 3]
    assert held_out.frames.tolist() == [5, 6]


def test_a_recordings_own_split_is_kept(toy_frames):
    subject = Subject(folder=Path(), track=toy_frames.track, held_out=(1, 4))
    training, held_out = split_frames(subject, 0.34, 2)
    assert training.frames.tolist() == [2, 5]
    assert held_out.frames.tolist() == [1, 4]


def test_a_smaller_pixel_is_occluded_if_any_part_of_it_is(toy_frames, tmp_path: Path):
    track = toy_frames.track[:1]
    label = np.full((48, 48), Label.SKIN, np.uint8)
    label[9:20, 9:20] = OCCLUDED  # not at edges of the smaller pixels
    for kind, values in (("image", np.zeros((48, 48, 3), np.uint8)), ("mask", label), ("semantic", label)):
        (tmp_path / kind).mkdir()
        write_png(tmp_path / kind / "1.png", values)
    labels = load_frames(Subject(folder=tmp_path, track=track), track, 12).pictures.label[0].numpy()
    expected = np.full((12, 12), Label.SKIN)
    expected[2:5, 2:5] = OCCLUDED
    np.testing.assert_array_equal(labels, expected)
