from pathlib import Path

from flare_cli.fit.frames import split_frames
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
