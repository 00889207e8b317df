"""Heads in the user's data folder: kept whole, found by name."""

import pytest
import torch

from flare_cli.errors import HeadError
from flare_cli.head.library import load_head
from flare_cli.head.stored import head_path, save_head, stored_names


def test_a_stored_head_comes_back_and_is_found_by_name(flame, tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    path = save_head(flame, {"edition": "2020"})
    assert path == tmp_path / "heads/flame-2020.safetensors"
    assert stored_names() == ["flame-2020"]
    again = load_head("flame-2020")
    for name in ("template", "faces", "uv", "shape_dirs", "expression_dirs", "pose_dirs", "weights", "joints"):
        torch.testing.assert_close(getattr(again, name), getattr(flame, name), atol=0, rtol=0)
    assert again.regions.keys() == flame.regions.keys()
    torch.testing.assert_close(again.landmarks.face, flame.landmarks.face)
    torch.testing.assert_close(again.arkit.expression, flame.arkit.expression)
    assert (again.name, again.sha256, again.parents) == (flame.name, flame.sha256, flame.parents)
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(HeadError, match="damaged"):
        load_head("flame-2020")


def test_names_can_not_leave_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    for name in ("../x", "A", "", "a/b", "." * 3):
        with pytest.raises(HeadError):
            head_path(name)
        with pytest.raises(HeadError):
            load_head(name)
