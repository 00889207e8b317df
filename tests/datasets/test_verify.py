"""A right import proves itself; a wrong one is refused and the cause is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.formats.scene import HEIGHT, WIDTH, make_scene, toy_head
from support.formats.writers import write_imavatar

from flare_cli.datasets.conventions import place
from flare_cli.datasets.formats import read_dataset
from flare_cli.datasets.verify import prove
from flare_cli.errors import SubjectError


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    scene, folder = make_scene(4), tmp_path_factory.mktemp("data")
    write_imavatar(folder, scene)
    sequences = read_dataset(folder)
    track = place(sequences, toy_head(), folder=folder, fps=25).track
    return scene, track, scene.masks() / 255.0, sequences.videos[0].keypoints


def test_a_right_import_meets_mask_and_key_points(case):
    scene, track, masks, keypoints = case
    proof = prove(track, scene.head, masks=masks, keypoints=keypoints)
    assert proof.iou > 0.99
    assert proof.inside > 0.99
    assert proof.landmark_error < 0.05


def test_mediapipe_points_are_compared_too(case):
    scene, track, _, _ = case
    shifted = scene.keypoints() + np.array([3.0, 4.0])
    proof = prove(track, scene.head, masks=None, keypoints=shifted)
    assert proof.landmark_error == pytest.approx(5, abs=0.01)
    assert proof.iou is None


def test_missing_key_points_do_not_count(case):
    scene, track, _, keypoints = case
    some = keypoints.copy()
    some[0] = np.nan
    assert prove(track, scene.head, masks=None, keypoints=some).landmark_error < 0.05
    assert prove(track, scene.head, masks=None, keypoints=np.full_like(some, np.nan)).landmark_error is None


def changed(track, *, flipped=False, scale=1.0):
    view = track.camera.camera_from_world.clone()
    view[:, :, 3] *= scale
    if flipped:
        view = torch.diag(torch.tensor([1.0, -1, -1])) @ view
    camera = replace(track.camera, camera_from_world=view)
    return replace(track, camera=camera, translation=scale * track.translation)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"flipped": True}, "axes look like OpenGL"),
        ({"scale": 4.0}, "4 times too large"),
        ({"scale": 0.25}, "4 times too small"),
        ({"flipped": True, "scale": 4.0}, "OpenGL .* 4 times too large"),
    ],
)
def test_wrong_axes_and_units_are_named(change, cause, case):
    scene, track, masks, keypoints = case
    with pytest.raises(SubjectError, match=cause) as caught:
        prove(changed(track, **change), scene.head, masks=masks, keypoints=keypoints)
    assert "IoU" in caught.value.message


def test_pictures_of_somewhere_else_are_refused_without_a_wrong_cause(case):
    scene, track, _, _ = case
    corner = np.zeros((len(track), HEIGHT, WIDTH))
    corner[:, :12, :10] = 1
    with pytest.raises(SubjectError, match="no other axes or scale explain it"):
        prove(track, scene.head, masks=corner, keypoints=None)


def test_key_points_outweigh_a_mask_of_the_whole_person(case):
    scene, track, _, keypoints = case
    everything = np.ones((len(track), HEIGHT * 2, WIDTH * 2))
    far = replace(
        track, camera=replace(track.camera, intrinsics=track.camera.intrinsics * torch.tensor([0.5, 0.5, 1, 1]))
    )
    near_points = (keypoints - [41.5, 46.25]) * 0.5 + [41.5, 46.25]
    proof = prove(far, scene.head, masks=everything, keypoints=near_points)
    assert proof.iou < 0.3
    assert proof.landmark_error < 0.05
    with pytest.raises(SubjectError, match="silhouette IoU"):
        prove(far, scene.head, masks=everything, keypoints=None)
