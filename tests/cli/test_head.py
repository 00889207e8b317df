"""`flare head add`, `list` and `remove`, on a FLAME-shaped file."""

import json
from pathlib import Path

import pytest
from support import flame_like
from typer.testing import CliRunner

from flare_cli.cli.main import app
from flare_cli.errors import HeadError
from flare_cli.head.library import load_head


def run(*arguments):
    result = CliRunner().invoke(app, ["head", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_head_is_added_listed_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path / "data"))
    file = flame_like.write_flame_like(tmp_path / "generic_model.pkl")
    assert list(json.loads(run("list", "--json").stdout)) == ["open-head"]
    added = json.loads(run("add", file, "--json").stdout)
    assert (added["name"], added["edition"]) == ("flame-2020", "2020")
    assert len(added["file_sha256"]) == 64
    head = load_head("flame-2020")
    assert (head.sha256, len(head.template)) == (added["sha256"], added["vertices"])
    listed = json.loads(run("list", "--json").stdout)
    assert "non-commercial" in listed["flame-2020"]["licence"]
    assert Path(listed["flame-2020"]["path"]) == tmp_path / "data/heads/flame-2020.safetensors"
    with pytest.raises(HeadError, match="already there"):
        run("add", file)
    run("remove", "flame-2020")
    assert list(json.loads(run("list", "--json").stdout)) == ["open-head"]
    with pytest.raises(HeadError, match="no head called"):
        run("remove", "flame-2020")
    with pytest.raises(HeadError, match="flame-2020") as caught:
        load_head("flame-2020")
    assert "flare head add" in caught.value.hint


def test_wrong_names_and_editions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path / "data"))
    file = flame_like.write_flame_like(tmp_path / "mine.pkl")
    with pytest.raises(HeadError, match="no edition"):
        run("add", file, "--edition", "2019")
    with pytest.raises(HeadError, match="can't be the name"):
        run("add", file, "--edition", "2020", "--name", "../x")
    with pytest.raises(HeadError, match="bundled"):
        run("add", file, "--edition", "2020", "--name", "open-head")
    assert not (tmp_path / "data").exists()
