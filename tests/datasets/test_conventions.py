"""Other programs' heads and cameras become ours, or are refused by name."""

import numpy as np
import pytest
from support.formats.datasets import PARAMS, edit_json, imported
from support.formats.scene import toy_head
from support.formats.writers import (
    write_imavatar,
    write_metrical_tracker,
)

from flare_cli.datasets.conventions import place
from flare_cli.datasets.formats import read_dataset
from flare_cli.errors import SubjectError


def test_head_fixed_world_becomes_an_upright_still_camera(scene, tmp_path):
    write_metrical_tracker(tmp_path, scene)
    track = imported(tmp_path, scene).track
    assert len(track.camera) == 1
    np.testing.assert_allclose(track.camera.camera_from_world[0, :, :3], np.diag([1, -1, -1]), atol=1e-7)
    assert track.pose[:, 0].std() > 0.05


def test_an_edition_is_never_mixed_with_another(scene, tmp_path):
    write_imavatar(tmp_path, scene)
    with pytest.raises(SubjectError, match="flame-2020, not of flame-2023"):
        place(read_dataset(tmp_path), toy_head("flame-2023"), folder=tmp_path, fps=25)


def _mirror(params) -> None:
    for frame in params["frames"]:
        frame["world_mat"][0] = [-x for x in frame["world_mat"][0]]


def _stretch(params) -> None:
    for frame in params["frames"]:
        frame["world_mat"][1] = [1.5 * x for x in frame["world_mat"][1]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_mirror, "mirrors the world"),
        (_stretch, "scales or shears"),
        (lambda v: v.update(intrinsics=[0, 1, 0.5, 0.5]), "focal length is 0"),
    ],
)
def test_impossible_cameras_are_named(change, expected, scene, tmp_path):
    write_imavatar(tmp_path, scene)
    edit_json(tmp_path / PARAMS, change)
    with pytest.raises(SubjectError, match=expected):
        imported(tmp_path, scene)
