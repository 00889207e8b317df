"""Which format a folder is, and which videos it holds."""

import numpy as np
import pytest
from support.formats.datasets import imported, seen
from support.formats.scene import Scene, make_scene
from support.formats.writers import (
    write_imavatar,
)

from flare_cli.datasets.formats import read_dataset
from flare_cli.errors import SubjectError


def test_videos_in_folders_with_their_own_lenses_and_split(tmp_path):
    scenes = [make_scene(3, seed=seed) for seed in range(3)]
    for folder, one in zip(("a", "b", "test"), scenes, strict=True):
        write_imavatar(tmp_path / folder, one)
    subject = imported(tmp_path, scenes[0])
    assert subject.videos == ("a", "b", "test")
    assert subject.track.frames.tolist() == list(range(1, 10))
    assert subject.held_out == (7, 8, 9)
    assert subject.track.video is not None
    for video, scene in enumerate(scenes):
        shot = subject.track[subject.track.video == video].with_camera(subject.track.camera[video : video + 1])
        truth = Scene(**{**scene.__dict__, "shape": scenes[1].shape})  # FLARE: the last training video's shape
        assert np.abs(seen(shot, scene)[2] - truth.pixels()).max() < 0.1


def test_evaluation_video_by_name(tmp_path):
    for folder in ("a", "b"):
        write_imavatar(tmp_path / folder, make_scene(2))
    sequences = read_dataset(tmp_path, evaluation=("a",))
    assert [(v.name, bool(v.held_out.all())) for v in sequences.videos] == [("b", False), ("a", True)]
    assert read_dataset(tmp_path).split is False
    with pytest.raises(SubjectError, match="no video called 'c'"):
        read_dataset(tmp_path, evaluation=("c",))


def test_unknown_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(SubjectError) as caught:
        read_dataset(tmp_path)
    assert "flame_params.json" in caught.value.hint
    with pytest.raises(SubjectError, match="not a format"):
        read_dataset(tmp_path, format_name="nerf")
    with pytest.raises(SubjectError, match="not a folder"):
        read_dataset(tmp_path / "nowhere")
