"""What a machine that went down leaves of a work folder: files that are empty, cut off or full of zeros."""

from pathlib import Path

import numpy as np
import pytest

from flare_cli.errors import SubjectError
from flare_cli.track.work_folder import WorkFolder

DAMAGE = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "a bit flipped": lambda data: data[:200] + bytes([data[200] ^ 4]) + data[201:],
}


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    folder = WorkFolder(tmp_path / ".work")
    folder.claim("a")
    folder.save_arrays("track", {"pose": np.ones((50, 3))})
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_arrays_are_made_again_and_it_is_said(damage: str, work: WorkFolder):
    path = work.folder / "track.npz"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert work.arrays("track") is None
    assert "track made again" in work.notes[0]


@pytest.mark.parametrize("damage", ["empty", "cut off", "zeros"])
def test_a_damaged_key_begins_anew_and_it_is_said(damage: str, work: WorkFolder):
    key = work.folder / "key.json"
    key.write_bytes(DAMAGE[damage](key.read_bytes()))
    work.claim("a")
    assert work.arrays("track") is None
    assert "begun anew" in work.notes[0]


def test_what_is_whole_is_kept(work: WorkFolder):
    work.claim("a")
    kept = work.arrays("track")
    assert kept is not None
    np.testing.assert_array_equal(kept["pose"], np.ones((50, 3)))
    assert not work.notes


def test_an_empty_picture_is_not_there(work: WorkFolder):
    path = work.picture("mask", 1)
    path.parent.mkdir()
    path.touch()
    assert not work.has("mask", 1)


@pytest.mark.parametrize("damage", ["empty", "cut off", "zeros"])
def test_a_crop_comes_back_and_a_damaged_one_is_told_and_made_again(damage: str, work: WorkFolder):
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    work.save_passing("crop", 3, rgb)
    np.testing.assert_array_equal(work.passing("crop", 3), rgb)
    path = work.picture("crop", 3)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(SubjectError, match=r"3\.npy"):
        work.passing("crop", 3)
    assert not work.has("crop", 3)
