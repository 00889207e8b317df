"""Batches of tiny fits in turn: what is made, kept, gone on with and replaced, and what is said of failures."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_batches import avatar_in, batch_request, cut_off_fit

from flare_cli.apps.batch.batch import BatchResult, batch
from flare_cli.apps.batch.board import Board, unseen
from flare_cli.apps.batch.manifest import Entry
from flare_cli.apps.batch.work import Defaults, plan, planned_keys, wanted_stages
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.data.folder_lock import alone_in
from flare_cli.errors import AvatarError, ConfigError, FlareError
from flare_cli.parallel.progress import quiet
from flare_cli.track.request import PreprocessRequest


def run(*inputs: object, out: Path, **more) -> BatchResult:
    return batch(batch_request(*inputs, out=out, **more), unseen, unseen)


def states(result: BatchResult) -> dict[str, dict[str, str]]:
    return {name: {o.stage: o.state for o in outcomes} for name, outcomes in result.outcomes.items()}


@pytest.fixture(scope="module")
def finished(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a batch of a and b. Copy it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    torch.set_num_threads(1)  # as all tests have: sums depend on it, and this is made before
    result = run(people / "a", people / "b", out=out)
    assert not result.failed
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def test_a_batch_makes_what_single_commands_make(people: Path, out: Path, tmp_path: Path):
    asked = batch_request(people / "a", out=out)
    single = FitRequest(
        subject=people / "a", run=tmp_path / "run", config=asked.config, overrides=asked.defaults.overrides
    )
    fit(replace(single, device="cpu"), quiet)
    assert avatar_in(out / "a" / "run") == avatar_in(tmp_path / "run")
    assert (out / "a" / "export" / "a.glb").is_file()
    assert (out / "a" / "run" / "eval" / "report.json").is_file()


def test_the_summary_says_the_same_three_times(people: Path, out: Path, tmp_path: Path):
    broken = tmp_path / "<b>ad & worse"
    shutil.copytree(people / "c", broken)
    (broken / "flare.json").write_text("{}")
    result = run(people / "a", broken, out=out)
    rows = json.loads((out / "summary.json").read_text())["rows"]
    table = list(csv.DictReader((out / "summary.csv").open()))
    page = (out / "summary.html").read_text()
    assert result.failed == 1
    assert [row["state"] for row in rows] == [line["state"] for line in table] == ["done", "failed"]
    assert rows[1]["failed_stage"] == table[1]["failed_stage"] == "fit"
    assert "flare.json" in rows[1]["message"]
    assert rows[1]["message"] == table[1]["message"]
    assert float(table[0]["psnr_foreground"]) == rows[0]["scores"]["psnr_foreground"]
    assert set(rows[0]["begun"]) == set(rows[0]["seconds"])
    assert "1 of 2 subjects" in page
    assert page.count("<img") == page.count("data:image/jpeg;base64,") == 1
    assert "<b>ad" not in page  # a name is a text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


def test_what_is_done_is_kept(people: Path, out: Path):
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*") if path.is_file()}
    result = run(people / "a", people / "b", out=out)
    assert states(result) == {name: dict.fromkeys(("fit", "eval", "export"), "kept") for name in "ab"}
    assert result.outcomes["a"][1].scores["psnr_foreground"] > 5
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_only_what_is_missing_is_made(people: Path, out: Path):
    (out / "a" / "export" / "a.glb").unlink()
    result = run(people / "a", out=out, export=("glb",))
    assert states(result)["a"] == {"fit": "kept", "eval": "kept", "export": "done"}


def test_another_format_is_made_beside_those_that_are_there(people: Path, out: Path):
    before = (out / "a" / "export" / "a.glb").stat().st_mtime_ns
    result = run(people / "a", out=out, export=("glb", "hdr"))
    assert states(result)["a"] == {"fit": "kept", "eval": "kept", "export": "done"}
    assert (out / "a" / "export" / "a.hdr").is_file()
    assert (out / "a" / "export" / "a.glb").stat().st_mtime_ns == before


def test_a_film_that_was_mended_is_taken_again(tmp_path: Path):
    film = tmp_path / "me.mp4"
    for content in (b"no film", b"no film either"):
        film.write_bytes(content)
        outcome = run(film, out=tmp_path / "out", stages=("preprocess",)).outcomes["me"][0]
        assert "me.mp4" in outcome.message
        assert "overwrite" not in outcome.hint


def test_a_fit_that_was_cut_off_goes_on(people: Path, out: Path, tmp_path: Path):
    asked = batch_request(people / "a", out=tmp_path / "new")
    cut_off_fit(people / "a", tmp_path / "new" / "a" / "run", asked, steps=8)
    dry = batch(replace(asked, dry_run=True), unseen, unseen).planned["a"]
    assert dry == {"fit": "goes on", "eval": "to do", "export": "to do"}
    result = batch(asked, unseen, unseen)
    assert not result.failed
    assert avatar_in(tmp_path / "new" / "a" / "run") == avatar_in(out / "a" / "run")


def test_other_settings_are_told_and_replaced_only_when_asked(people: Path, out: Path):
    other = {"overrides": (*batch_request(people, out=out).defaults.overrides, "run.seed=1", "stage.steps=6")}
    refused = run(people / "a", out=out, **other)
    assert refused.failed == 1
    assert states(refused)["a"] == {"fit": "failed", "eval": "skipped", "export": "skipped"}
    assert "other settings" in refused.outcomes["a"][0].message
    assert "--overwrite" in refused.outcomes["a"][0].hint
    before = avatar_in(out / "a" / "run")
    replaced = run(people / "a", out=out, overwrite=True, stages=("fit", "eval"), **other)
    assert states(replaced)["a"] == {"fit": "done", "eval": "done"}
    assert avatar_in(out / "a" / "run") != before


def test_settings_of_how_it_is_computed_leave_what_is_done(people: Path, out: Path):
    overrides = (*batch_request(people, out=out).defaults.overrides, "run.checkpoint_seconds=7")
    assert set(states(run(people / "a", out=out, overrides=overrides))["a"].values()) == {"kept"}


def test_a_subject_tracked_anew_is_fitted_anew(people: Path, out: Path, tmp_path: Path):
    copy = shutil.copytree(people / "a", tmp_path / "a")
    track = json.loads((copy / "flame_params.json").read_text())
    track["frames"][0]["expression"][0] += 0.5
    (copy / "flame_params.json").write_text(json.dumps(track))
    assert states(run(copy, out=out, stages=("fit",)))["a"] == {"fit": "failed"}
    assert states(run(copy, out=out, stages=("fit",), overwrite=True))["a"] == {"fit": "done"}


def test_failures_of_some_leave_the_others(people: Path, tmp_path: Path):
    films = tmp_path / "films"
    films.mkdir()
    (films / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "list.csv").write_text(f"input\nfilms/broken.mp4\nfilms/gone.mp4\n{people / 'c'}\n")
    result = run(tmp_path / "list.csv", out=tmp_path / "out", stages=("preprocess", "fit"))
    assert result.failed == 2
    assert states(result) == {
        "broken": {"preprocess": "failed", "fit": "skipped"},
        "gone": {"preprocess": "failed", "fit": "skipped"},
        "c": {"fit": "done"},
    }
    assert "broken.mp4" in result.outcomes["broken"][0].message
    assert result.outcomes["gone"][0].hint


def test_a_bug_in_one_subject_is_reported_with_its_traceback(people: Path, tmp_path: Path, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("flare_cli.apps.batch.stages.fit", broken)
    result = run(people / "a", out=tmp_path / "out")
    assert result.outcomes["a"][0].message == "ZeroDivisionError: a bug"
    assert "ZeroDivisionError: a bug" in (tmp_path / "out" / "a" / "error.txt").read_text()


def test_a_second_batch_is_told_who_works_on_a_subject(people: Path, tmp_path: Path):
    out = tmp_path / "out"
    with alone_in(out / "a" / ".batch" / "fit"):
        result = run(people / "a", out=out)
    assert result.failed == 1
    assert "is in use by process" in result.outcomes["a"][0].message


def test_a_list_has_settings_of_its_own(people: Path, tmp_path: Path):
    (tmp_path / "list.toml").write_text(
        f'[[subject]]\ninput = "{people / "a"}"\nname = "one"\nset = ["stage.steps=6"]\nexport = ["hdr"]\n'
        f'[[subject]]\ninput = "{people / "a"}"\nname = "two"\nexport = ["hdr"]\ntest = "{people / "b"}"\n'
    )
    out = tmp_path / "out"
    assert not run(tmp_path / "list.toml", out=out, stages=("fit", "eval", "export")).failed
    assert {path.name for path in (out / "one" / "export").iterdir()} == {"one.hdr"}
    assert json.loads((out / "one" / "run" / "eval" / "report.json").read_text())["frames"] == 1
    report = json.loads((out / "two" / "run" / "eval" / "report.json").read_text())
    assert report["frames"] == 6  # all of another recording
    assert Path(report["subject"]) == people / "b"


def test_faces_and_parsers_are_for_all_or_for_each(tmp_path: Path, monkeypatch):
    asked: list[PreprocessRequest] = []
    monkeypatch.setattr("flare_cli.apps.batch.stages.preprocess", lambda request, _: asked.append(request))
    (tmp_path / "lists").mkdir()
    for parser in (tmp_path / "all.onnx", tmp_path / "lists" / "own.onnx"):
        parser.write_bytes(parser.name.encode())
    (tmp_path / "lists" / "people.csv").write_text("input,name,face,parser\ncrowd.mp4,a,,\ncrowd.mp4,b,2,own.onnx\n")
    common = {"face": 3, "parser": tmp_path / "all.onnx", "stages": ("preprocess",)}
    assert not run(tmp_path / "lists" / "people.csv", out=tmp_path / "out", **common).failed
    assert [(request.face, request.parser) for request in asked] == [
        (3, tmp_path / "all.onnx"),
        (2, tmp_path / "lists" / "own.onnx"),
    ]


def test_another_face_or_parser_is_another_subject(tmp_path: Path):
    film, parser = Entry(input=str(tmp_path / "me.mp4"), name="me"), tmp_path / "own.onnx"

    def key(**more) -> str:
        return planned_keys(plan(film, tmp_path, Defaults(**more)), {})["preprocess"]

    keys = [key(), key(face=2)]
    for content in (b"one", b"the other"):
        parser.write_bytes(content)
        keys.append(key(parser=parser))
    assert len(set(keys)) == 4
    assert keys[0] == key(face=1)
    assert set(plan(film, tmp_path, Defaults()).settings["preprocess"]) == {
        "head",
        "size",
        "fps",
        "max_frames",
    }  # as ever
    parser.rename(tmp_path / "moved.onnx")
    assert keys[3] == key(parser=tmp_path / "moved.onnx")
    with pytest.raises(FlareError, match=r"own\.onnx can't be read"):
        key(parser=parser)


def test_a_dry_run_writes_nothing(people: Path, tmp_path: Path):
    result = run(people, out=tmp_path / "out", dry_run=True)
    assert result.planned == {name: dict.fromkeys(("fit", "eval", "export"), "to do") for name in "abc"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"export": ("fbx",)}, {"overrides": ("data.sise=3",)}])
def test_a_wrong_request_is_refused_before_anything_is_written(wrong: dict, people: Path, tmp_path: Path):
    with pytest.raises(FlareError, match=r"fbx|sise"):
        run(people, out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_wrong_setting_in_a_list_names_the_config(people: Path, tmp_path: Path):
    (tmp_path / "list.csv").write_text(f"input,config\n{people / 'a'},fast")
    with pytest.raises(ConfigError, match="no config called 'fast'"):
        run(tmp_path / "list.csv", out=tmp_path / "out")


def test_the_board_counts_and_estimates(people: Path, tmp_path: Path):
    boards: list[tuple[int, int, int]] = []

    def look(board: Board) -> None:
        line = board.lines()[0]
        boards.append((line.waiting, line.running, line.done))
        assert board.left() is None or board.left() >= 0

    batch(batch_request(people / "a", people / "b", out=tmp_path / "out", stages=("fit",)), look, unseen)
    assert boards == [(1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 2)]


def test_an_array_of_slurm_does_all_subjects_once(people: Path, tmp_path: Path):
    out = tmp_path / "out"
    script = batch(
        batch_request(people / "a", people / "b", out=out, slurm=True, stages=("fit",)), unseen, unseen
    ).script
    assert script is not None
    text = script.read_text()
    assert "#SBATCH --array=0-1%" in text
    assert not (out / "a").exists()
    for task in range(2):
        part = run(out / "slurm.csv", out=out, stages=("fit",), only=(task, task))
        assert list(part.outcomes) == ["ab"[task]]
    assert not (out / "summary.csv").exists()
    whole = run(out / "slurm.csv", out=out, stages=("fit",))
    assert states(whole) == {name: {"fit": "kept"} for name in "ab"}
    assert (out / "summary.csv").is_file()


def test_stages_are_done_in_their_order_whatever_is_said():
    assert wanted_stages(["export", "fit"]) == ("fit", "export")
    for wrong in (["fit", "paint"], []):
        with pytest.raises(FlareError, match=r"paint|no stage"):
            wanted_stages(wrong)


@pytest.mark.parametrize(("kind", "file"), [("usd", "a.usdc"), ("exr", "a.exr"), ("glb", "a.glb")])
def test_a_format_is_made_where_its_file_is_not_there(people: Path, tmp_path: Path, kind: str, file: str):
    work = plan(Entry(input=str(people / "a"), name="a"), tmp_path, Defaults(export=(kind,)))
    assert work.results("export") == [tmp_path / "a" / "export" / file]


@pytest.mark.parametrize("kind", ["textures", "ply-sequence", "stl"])
def test_a_batch_refuses_formats_of_many_files(people: Path, tmp_path: Path, kind: str):
    with pytest.raises(AvatarError, match=f"'{kind}' is not an export format of a batch"):
        plan(Entry(input=str(people / "a"), name="a", export=(kind,)), tmp_path, Defaults())
