import sys

import cv2
import numpy as np
import pytest

from flare_cli.data.hdr import load_envmap, save_hdr
from flare_cli.errors import EnvmapError


@pytest.fixture
def envmap():
    return np.random.default_rng(0).uniform(0.01, 50, (8, 16, 3)).astype(np.float32)


def test_radiance_survives_a_round_trip_within_its_mantissa(tmp_path, envmap):
    save_hdr(tmp_path / "deep" / "light.hdr", envmap)
    again = load_envmap(tmp_path / "deep" / "light.hdr")
    assert again.dtype == np.float32
    assert (np.abs(again - envmap) <= envmap.max(-1, keepdims=True) / 128).all()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["light.hdr"]


def test_red_stays_red(tmp_path):
    save_hdr(tmp_path / "red.hdr", np.tile(np.float32([4.0, 0.0, 0.0]), (2, 4, 1)))
    assert load_envmap(tmp_path / "red.hdr")[0, 0].tolist() == [4.0, 0.0, 0.0]


def refused(path):
    with pytest.raises(EnvmapError) as refusal:
        load_envmap(path)
    assert str(path) in refusal.value.message
    assert refusal.value.hint
    return refusal.value.message


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.hdr")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("name", ["light.png", "light.hdr"])
def test_an_ordinary_picture_is_refused_whatever_its_name(tmp_path, name):
    data = cv2.imencode(".png", np.zeros((8, 16, 3), np.uint8))[1]
    (tmp_path / name).write_bytes(data.tobytes())
    assert "not an HDR" in refused(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 8 +X 16\n\x00"])
def test_text_and_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "light.hdr").write_bytes(content)
    refused(tmp_path / "light.hdr")


def test_a_picture_of_other_shape_is_refused(tmp_path):
    save_hdr(tmp_path / "square.hdr", np.ones((8, 8, 3), np.float32))
    assert "8 x 8" in refused(tmp_path / "square.hdr")


def test_an_exr_without_the_package_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "light.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(100))
    with pytest.raises(EnvmapError) as refusal:
        load_envmap(tmp_path / "light.exr")
    assert "flare-cli[exr]" in refusal.value.hint
    assert ".hdr" in refusal.value.hint


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_values_that_are_no_radiance_are_refused(tmp_path, envmap, value, monkeypatch):
    save_hdr(tmp_path / "light.hdr", envmap)
    envmap[0, 0, 0] = value  # RGBE can't hold such values, other formats can
    monkeypatch.setattr(cv2, "imdecode", lambda *_: envmap)
    assert "negative or not finite" in refused(tmp_path / "light.hdr")
