"""OpenEXR files: exact floats, half floats, channels in any company; and what is no map of ours."""

import struct
from pathlib import Path

import numpy as np
import pytest

from flare_cli.data.exr import read_exr, write_exr
from flare_cli.data.hdr import load_envmap
from flare_cli.errors import EnvmapError, FlareError

OpenEXR = pytest.importorskip("OpenEXR")
HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


@pytest.fixture
def envmap() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.01, 5000, (8, 16, 3)).astype(np.float32)


def refused(path: Path) -> str:
    with pytest.raises(EnvmapError) as refusal:
        load_envmap(path)
    assert str(path) in refusal.value.message
    assert refusal.value.hint
    return refusal.value.message


def test_floats_survive_to_the_bit(tmp_path: Path, envmap: np.ndarray):
    write_exr(tmp_path / "deep" / "light.exr", envmap)
    np.testing.assert_array_equal(load_envmap(tmp_path / "deep" / "light.exr"), envmap)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["light.exr"]


def test_bytes_tell_what_a_file_is_and_not_its_name(tmp_path: Path, envmap: np.ndarray):
    write_exr(tmp_path / "light.exr", envmap)
    (tmp_path / "light.exr").rename(tmp_path / "light.hdr")
    np.testing.assert_array_equal(load_envmap(tmp_path / "light.hdr"), envmap)


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "PIZ"])
def test_half_floats_beside_other_channels(tmp_path: Path, envmap: np.ndarray, compression: str):
    half = envmap.astype(np.float16)
    depth = np.ones((8, 16), np.float32)
    rgba = np.concatenate([half, half[..., :1]], -1)
    header = HEADER | {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION")}
    OpenEXR.File(header, {"RGBA": rgba, "Z": depth}).write(str(tmp_path / "light.exr"))
    np.testing.assert_array_equal(read_exr(tmp_path / "light.exr"), half.astype(np.float32))


def test_the_part_with_colours_is_read(tmp_path: Path, envmap: np.ndarray):
    depth = OpenEXR.Part({"name": "depth"}, {"Z": np.ones((8, 16), np.float32)})
    OpenEXR.File([depth, OpenEXR.Part({"name": "light"}, {"RGB": envmap})]).write(str(tmp_path / "light.exr"))
    np.testing.assert_array_equal(read_exr(tmp_path / "light.exr"), envmap)


def test_a_grey_picture_is_refused(tmp_path: Path):
    OpenEXR.File(HEADER, {"Y": np.ones((8, 16), np.float32)}).write(str(tmp_path / "grey.exr"))
    assert "no channels R, G and B" in refused(tmp_path / "grey.exr")


def test_a_part_of_a_picture_is_refused(tmp_path: Path, envmap: np.ndarray):
    window = (np.array([0, 0], np.int32), np.array([31, 15], np.int32))
    OpenEXR.File(HEADER | {"displayWindow": window}, {"RGB": envmap}).write(str(tmp_path / "part.exr"))
    assert "a part of its picture" in refused(tmp_path / "part.exr")


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_values_that_are_no_radiance_are_refused(tmp_path: Path, envmap: np.ndarray, value: float):
    envmap[0, 0, 0] = value
    write_exr(tmp_path / "light.exr", envmap)
    assert "negative or not finite" in refused(tmp_path / "light.exr")


def test_other_shapes_are_refused(tmp_path: Path, envmap: np.ndarray):
    write_exr(tmp_path / "square.exr", envmap[:, :8])
    assert "8 x 8" in refused(tmp_path / "square.exr")


def test_a_small_file_that_says_it_is_huge_is_refused_before_there_is_room_for_it(tmp_path: Path, envmap: np.ndarray):
    write_exr(tmp_path / "light.exr", envmap)
    data = (tmp_path / "light.exr").read_bytes()
    whole, huge = struct.pack("<4i", 0, 0, 15, 7), struct.pack("<4i", 0, 0, 2**15 - 1, 2**14 - 1)
    assert data.count(whole) == 2
    (tmp_path / "light.exr").write_bytes(data.replace(whole, huge))
    assert "32768 x 16384" in refused(tmp_path / "light.exr")


def test_a_disk_without_room_is_one_sentence(tmp_path: Path, envmap: np.ndarray):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FlareError, match=r"light\.exr"):
            write_exr(tmp_path / "light.exr", envmap)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "light.exr").exists()


@pytest.mark.parametrize("keep", [4, 60, 300, 700])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, envmap: np.ndarray, keep: int, capfd: pytest.CaptureFixture):
    write_exr(tmp_path / "light.exr", envmap)
    (tmp_path / "light.exr").write_bytes((tmp_path / "light.exr").read_bytes()[:keep])
    refused(tmp_path / "light.exr")
    assert capfd.readouterr() == ("", "")
