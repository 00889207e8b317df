"""Checkpoints of torch are read without torch's own unpickler; hostile and damaged ones are refused."""

import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from support.pickles import Call, named, protocol2, text

from flare_cli.data.pickle.torch_files import load_torch_pickle
from flare_cli.errors import PickleError

CHECKPOINT = {
    "flame": {"exp": np.random.default_rng(0).normal(size=(1, 100)).astype(np.float32)},
    "tensor": torch.arange(12.0).reshape(3, 4).T[1:],
    "long": torch.tensor([1, 2, 3]),
    "none": torch.zeros(0, 3),
    "shared": [torch.arange(4.0)] * 2,
    "img_size": (512, 384),
    "frame_id": "00000",
}


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_torch_are_read(tmp_path, zipped):
    path = tmp_path / "00000.frame"
    torch.save(CHECKPOINT, path, _use_new_zipfile_serialization=zipped)
    value = load_torch_pickle(path)
    np.testing.assert_array_equal(value["flame"]["exp"], CHECKPOINT["flame"]["exp"])
    for name in ("tensor", "long", "none"):
        np.testing.assert_array_equal(value[name], CHECKPOINT[name].numpy())
    np.testing.assert_array_equal(value["shared"][1], np.arange(4.0))
    assert value["img_size"] == (512, 384)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_checkpoints_are_refused(tmp_path, zipped):
    canary, path = tmp_path / "canary", tmp_path / "hostile.pt"
    torch.save({"a": Call(os.system, f"touch {canary}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(PickleError, match="system"):
        load_torch_pickle(path)
    assert not canary.exists()


def _view(size: int, stride: int, key: str = "0") -> bytes:
    storage = b"(" + text("storage") + named("torch", "FloatStorage") + text(key) + text("cpu") + b"K\x04tQ"
    numbers = b"K\0" + b"J" + struct.pack("<i", size) + b"\x85K" + bytes([stride]) + b"\x85\x89}"
    return protocol2(named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + numbers + b"tR")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_view(5, 1), "beyond its storage"),
        (_view(2**31 - 1, 0), "bytes"),
        (_view(4, 1, "../secret"), "lacks the storage"),
        (_view(4, 1).replace(b"K\x01\x85\x89", b"K\x01\x89"), "belong together"),
    ],
)
def test_tensors_that_lie_about_their_storage_are_refused(tmp_path, body, message):
    path = tmp_path / "view.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(PickleError, match=message):
        load_torch_pickle(path)


def test_a_bomb_of_zeros_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _view(4, 1))
        for k in range(6):
            archive.writestr(f"archive/data/{k}", bytes(200 << 20), compresslevel=1)
    with pytest.raises(PickleError, match="unpacks"):
        load_torch_pickle(path)


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "cut.pt"
    torch.save(CHECKPOINT, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PickleError, match="damaged"):
        load_torch_pickle(path)
