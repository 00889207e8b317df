"""What `flare export` refuses, and what it hands to glTF-Transform; and a page with a face tracker in it."""

import json
import os
import re
import shutil
import stat
import struct
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from support.validator import INFORMATION, issues

from flare_cli.apps.export import ExportRequest, export
from flare_cli.avatar.baking.profiles import Profile
from flare_cli.data.meshes.seen_light import light_module
from flare_cli.data.meshes.viewer_page import ViewerPage, write_viewer
from flare_cli.data.meshes.webcam import face_tracker
from flare_cli.errors import AvatarError, BackendError
from flare_cli.parallel.progress import quiet

# A stand-in for the program: notes how it was called and copies the file, or fails.
STAND_IN = """#!/bin/sh
echo "$1 $4 $5 $6 $7" >> "{notes}"
test "$1" = etc1s && echo "ktx is missing" >&2 && exit 1
cp "$2" "$3"
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`gltf-transform` on PATH; the file of its calls."""
    folder, notes = tmp_path / "bin", tmp_path / "notes"
    folder.mkdir()
    file = folder / "gltf-transform"
    file.write_text(STAND_IN.format(notes=notes))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return notes


def header(file: Path) -> dict:
    data = file.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])


def test_lods_have_half_the_vertices_and_textures_of_the_one_before(small_run: Path, tmp_path: Path, program: Path):
    request = ExportRequest(
        run=small_run, kind="glb", out=tmp_path / "out", texture_size=64, lods=2, compress="meshopt", name="me"
    )
    written = export(request, quiet)
    assert [file.name for file in written.files] == ["me.glb", "me_lod1.glb", "me_lod2.glb"]
    assert sorted(file.name for file in request.out.iterdir()) == [file.name for file in written.files]
    calls = [line.split() for line in program.read_text().splitlines()]
    assert [call[0] for call in calls] == ["meshopt", "simplify", "meshopt", "simplify", "meshopt"]
    assert [call[2] for call in calls if call[0] == "simplify"] == ["0.5", "0.25"]
    lengths = [sum(view["byteLength"] for view in header(file)["bufferViews"]) for file in written.files]
    assert lengths[0] > lengths[1] > lengths[2]  # by their textures; the stand-in simplifies nothing


def test_a_program_that_fails_leaves_nothing(small_run: Path, tmp_path: Path, program: Path):
    request = ExportRequest(run=small_run, kind="glb", out=tmp_path / "out", texture_size=64, compress="ktx2")
    with pytest.raises(BackendError, match="ktx is missing"):
        export(request, quiet)
    assert list(request.out.iterdir()) == []


def test_what_can_not_be_is_refused_before_the_work(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for options, reason in (
        ({"kind": "usd", "profile": "vrm"}, "--profile vrm"),
        ({"kind": "obj", "lods": 1}, "--lods"),
        ({"kind": "html", "compress": "draco"}, "--compress"),
        ({"kind": "usd", "shadows": True}, "--shadows"),
        ({"kind": "glb", "profile": "vrm", "compress": "draco"}, "VRM"),
        ({"kind": "glb", "webcam": tmp_path}, "--webcam"),
        ({"kind": "html", "webcam": tmp_path / "nothing"}, "not a folder"),
    ):
        with pytest.raises(AvatarError, match=reason):
            export(ExportRequest(run=small_run, out=tmp_path / "out", **options), quiet)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="no program `gltf-transform`"):
        export(ExportRequest(run=small_run, out=tmp_path / "out", kind="glb", lods=1), quiet)
    assert not (tmp_path / "out").exists()


def test_quantised_morphs_want_no_program(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    request = ExportRequest(run=small_run, kind="glb", out=tmp_path, texture_size=64)
    plain = export(request, quiet).file.stat().st_size
    monkeypatch.setenv("PATH", str(tmp_path))
    made = export(replace(request, compress="quantise"), quiet).file
    assert header(made)["extensionsRequired"] == ["KHR_mesh_quantization"]
    assert made.stat().st_size < 0.75 * plain


def test_shadows_come_with_the_script_that_draws_them(
    small_run: Path, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flare_cli.avatar.baking.seen_light.CHANGE_RAYS", 8)  # what they are is not looked at
    request = ExportRequest(
        run=small_run,
        kind="glb",
        out=tmp_path / "out",
        texture_size=64,
        shadows=True,
        lods=1,
        profile="unreal",
        name="me",
    )
    written = export(request, quiet)
    assert [file.name for file in written.files] == ["me.glb", "me_lod1.glb", "flare_light.js"]
    assert written.files[2].read_text(encoding="utf-8") == light_module()
    for file in written.files[:2]:
        mesh = header(file)["meshes"][0]
        seen = mesh["extras"]["flare_seen"]
        assert seen["vertices"] == written.vertices
        assert {name for name, _ in seen["shapes"]} < set(mesh["extras"]["targetNames"])  # as the profile writes them
        assert all("_VERTEX" in primitive["attributes"] for primitive in mesh["primitives"])


def test_a_vrm_is_called_so(small_run: Path, tmp_path: Path):
    made = export(ExportRequest(run=small_run, kind="glb", out=tmp_path, texture_size=64, profile="vrm"), quiet)
    assert made.file.suffix == ".vrm"
    assert header(made.file)["extensions"]["VRMC_vrm"]["specVersion"] == "1.0"


def test_a_page_has_a_face_tracker_only_if_it_was_given(tmp_path: Path):
    folder = tmp_path / "mediapipe"
    (folder / "wasm").mkdir(parents=True)
    parts = {"vision_bundle.cjs": "s", "wasm/vision_wasm_internal.js": "l", "wasm/vision_wasm_internal.wasm": "w"}
    for name, text in parts.items():
        (folder / name).write_text(text)
    with pytest.raises(AvatarError, match="face_landmarker"):
        face_tracker(folder)
    (folder / "face_landmarker.task").write_text("t")
    tracker = face_tracker(folder)
    assert tracker.parts() == {"script": b"s", "loader": b"l", "wasm": b"w", "task": b"t"}
    about = {"title": "me", "glb": b"", "lights": {}, "camera_position": (0.0, 0.0, 1.0), "fov_y": 20.0}
    for given in (None, tracker):
        write_viewer(tmp_path / "page.html", ViewerPage(**about, tracker=given))
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        inside = json.loads(re.search(r'<script id="tracker"[^>]*>(.*?)</script>', text)[1])
        assert set(inside) == (set() if given is None else set(tracker.parts()))
        assert ("wasm-unsafe-eval" in text) == (given is not None)


@pytest.mark.slow
def test_khronos_validator_warns_of_no_profile(small_run: Path, tmp_path: Path):
    variants = [{"profile": profile} for profile in get_args(Profile)]
    variants += [{"profile": "rpm", "compress": "quantise", "driver": Path("blink")}, {"shadows": True, "bust": "open"}]
    files = [
        export(
            ExportRequest(run=small_run, kind="glb", out=tmp_path, texture_size=64, name=str(i), **options), quiet
        ).file
        for i, options in enumerate(variants)
    ]
    told = [[message for message in messages if message["severity"] < INFORMATION] for messages in issues(files)]
    assert told == [[]] * len(files)


@pytest.mark.slow
def test_gltf_transform_keeps_what_a_rig_has(small_run: Path, tmp_path: Path):
    """Wants `npm install --global @gltf-transform/cli`."""
    if shutil.which("gltf-transform") is None:
        pytest.skip("there is no gltf-transform here")
    request = ExportRequest(run=small_run, kind="glb", out=tmp_path, texture_size=64, lods=1, compress="meshopt")
    whole, coarse = map(header, export(request, quiet).files)
    for document in (whole, coarse):
        assert len(document["meshes"][0]["extras"]["targetNames"]) == 52
        assert [node["name"] for node in document["nodes"]][1:] == ["root", "neck", "jaw", "eye_left", "eye_right"]
        assert "EXT_meshopt_compression" in document["extensionsRequired"]
    triangles = [
        sum(document["accessors"][primitive["indices"]]["count"] for primitive in document["meshes"][0]["primitives"])
        for document in (whole, coarse)
    ]
    assert 0.4 < triangles[1] / triangles[0] < 0.6
