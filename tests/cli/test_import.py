"""`flare preprocess DIR` and `flare convert` from the command line."""

import json
from pathlib import Path

import pytest
from support.formats.scene import make_scene, toy_head
from support.formats.writers import write_imavatar
from typer.testing import CliRunner

from flare_cli.apps import import_dataset as dataset
from flare_cli.cli.main import app
from flare_cli.errors import FlareError


def test_a_folder_is_imported_and_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset, "load_head", toy_head)
    for name in ("a", "b"):
        write_imavatar(tmp_path / "data" / name, make_scene(2))
    command = ["preprocess", str(tmp_path / "data"), "-o", str(tmp_path / "me"), "--eval-video", "b", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["format"], shown["frames"], shown["held_out"]) == ("imavatar", 4, 2)
    assert shown["proofs"]["a"]["iou"] > 0.9
    out = CliRunner().invoke(app, ["convert", str(tmp_path / "me"), "-o", str(tmp_path / "out")])
    assert out.exit_code == 0, out.output
    assert (tmp_path / "out" / "a" / "flame_params.json").is_file()
    assert (tmp_path / "out" / "test" / "b" / "flame_params.json").is_file()


def test_relighting_needs_a_place_for_predictions():
    result = CliRunner().invoke(app, ["eval", "--relight-envmap", "studio"])
    assert isinstance(result.exception, FlareError)
    assert "--predictions" in result.exception.message


def test_options_of_the_other_kind_of_input_are_refused(tmp_path: Path):
    for command in (["x.mp4", "--format", "imavatar"], [str(tmp_path), "--max-frames", "3"]):
        result = CliRunner().invoke(app, ["preprocess", *command, "-o", str(tmp_path / "out")])
        assert isinstance(result.exception, FlareError)
