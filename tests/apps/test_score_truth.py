"""`flare eval --truth` from the command line: one table, in files that other programs read, or one error."""

import csv
import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import pytest
import torch
from support.small_settings import FEW_RAYS

from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.score_truth import TruthRequest, TruthResult, score_truth
from flare_cli.cli.main import main
from flare_cli.data.crop import Crop
from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.errors import SubjectError
from flare_cli.parallel.progress import quiet
from flare_cli.show.predictions import PredictionsRequest
from flare_cli.subject.folder import Subject, save_subject
from flare_cli.subject.truth import truth_folder

SETTINGS = ("data.size=64", "stage.steps=20", "material.log2_entries=10", *FEW_RAYS)


@pytest.fixture(scope="module")
def run(subject_with_truth: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "fitted"
    fit(FitRequest(subject=subject_with_truth.folder, run=folder, config="demo", overrides=SETTINGS), quiet)
    return folder


@pytest.fixture(scope="module")
def scored(run: Path) -> TruthResult:
    return score_truth(TruthRequest(runs=(run,)), quiet)


def scores_of(result: TruthResult, row: str) -> dict[str, float]:
    (found,) = [r.scores.numbers() for r in result.rows if r.row == row]
    return found


def test_perfect_maps_with_visibility_stand_beside_avatars_that_have_it(
    scored: TruthResult, subject_with_truth: Subject, tmp_path: Path
):
    without, with_visibility = (scores_of(scored, row) for row in ("perfect maps", "perfect maps, visibility"))
    assert with_visibility["picture.psnr"] > without["picture.psnr"]
    assert with_visibility["normal.degrees"] == without["normal.degrees"]
    other = (*SETTINGS, "light.kind=neural", "light.visibility=false", "stage.steps=1")
    fit(FitRequest(subject=subject_with_truth.folder, run=tmp_path, config="demo", overrides=other), quiet)
    assert score_truth(TruthRequest(runs=(tmp_path,)), quiet).rows[-1].row == "perfect maps"


def test_an_avatar_stands_between_honest_rows_with_every_number(scored: TruthResult, run: Path):
    assert [row.row for row in scored.rows] == [
        "nothing done", "avatar", "own maps", "true normals", "true albedo", "true gloss", "true silhouette",
        "true light", "perfect maps", "perfect maps, visibility",
    ]  # fmt: skip
    assert {row.frames for row in scored.rows} == {3}
    assert {row.name for row in scored.rows} == {"", str(run)}
    avatar = scores_of(scored, "avatar")
    assert len(avatar) == 30
    assert avatar["silhouette_iou"] > 0.9
    assert 3 < avatar["normal.degrees"] < 30
    assert avatar["vertices_mm"] < 5
    # Drawn from its maps or by itself, an avatar is the same but for antialiased outlines.
    assert scores_of(scored, "own maps")["picture.psnr"] == pytest.approx(avatar["picture.psnr"], abs=0.7)


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def test_the_files_are_whole_and_other_programs_read_them(scored: TruthResult, run: Path):
    as_json, as_csv, picture = scored.files
    assert {path.parent for path in scored.files} == {run / "eval"}
    report = json.loads(as_json.read_text(), parse_constant=refuse)
    assert report == scored.report
    assert report["runs"] == [str(run)]
    with as_csv.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(report["rows"]) == 10
    for line, row in zip(table, report["rows"], strict=True):
        assert line["row"] == row["row"]
        numbers = {n: float(v) for n, v in line.items() if n not in ("subject", "name", "row", "frames") and v}
        assert numbers == row["scores"]
    assert len(report["attribution"]) == 5
    gain = {g["row"]: g["gain"] for g in report["attribution"]}
    by_hand = scores_of(scored, "true albedo")["relit.left.psnr"] - scores_of(scored, "own maps")["relit.left.psnr"]
    assert gain["true albedo"]["relit.left.psnr"] == pytest.approx(by_hand)
    assert "relit.left.psnr" not in gain["true light"]
    sheet = read_rgb(picture)
    assert sheet.shape[1] > 8 * 64  # a column for each light, view and map
    assert not list(run.rglob("*.part*"))


def test_eval_without_truth_is_what_it_was(run: Path):
    result = evaluate(EvalRequest(run=run), quiet)
    assert result.frames == 3
    report = json.loads(result.report.read_text())
    assert set(report) == {
        "run", "subject", "scored", "frames", "size", "mean", "median", "lpips", "truth", "conventions"
    }  # fmt: skip
    assert set(report["truth"]) == {"albedo_raw", "albedo_aligned", "normal_degrees"}
    full = score_truth(TruthRequest(runs=(run,)), quiet)
    assert report["truth"]["albedo_raw"] == pytest.approx(scores_of(full, "avatar")["albedo.psnr"], abs=1e-3)
    assert report["truth"]["normal_degrees"] == pytest.approx(scores_of(full, "avatar")["normal.degrees"], abs=1e-3)


def test_own_predictions_read_back_score_as_the_avatar(run: Path, scored: TruthResult, subject_with_truth, tmp_path):
    envmap, folder = tmp_path / "left.hdr", tmp_path / "theirs"
    shutil.copy(truth_folder(subject_with_truth) / "relit" / "left" / "light.hdr", envmap)
    evaluate(EvalRequest(run=run, predictions=PredictionsRequest(folder=folder, envmaps=(envmap,))), quiet)
    request = TruthRequest(predictions_of=(folder,), subject=subject_with_truth.folder, out=tmp_path / "out")
    read = score_truth(request, quiet)
    theirs, ours = scores_of(read, "predictions"), scores_of(scored, "avatar")
    known = {n for n in ours if not n.startswith(("depth", "vertices", "light", "views", "relit.above"))}
    assert set(theirs) == known
    for name in known:
        assert theirs[name] == pytest.approx(ours[name], rel=0.01, abs=0.05), name
    assert {path.parent for path in read.files} == {tmp_path / "out"}


def test_predictions_of_another_size_are_brought_to_the_truths(run: Path, scored: TruthResult, tmp_path: Path):
    small = tmp_path / "small"
    evaluate(EvalRequest(run=run, predictions=PredictionsRequest(folder=tmp_path / "theirs")), quiet)
    for kind in ("mask", "colour", "normal", "albedo", "material"):
        for path in (tmp_path / "theirs" / kind).iterdir():
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            (small / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(small / kind / path.name), cv2.resize(picture, (128, 128), interpolation=cv2.INTER_NEAREST))
    result = score_truth(TruthRequest(runs=(run,), predictions_of=(small,), out=tmp_path), quiet)
    theirs, ours = scores_of(result, "predictions"), scores_of(scored, "avatar")
    assert theirs["picture.psnr"] == pytest.approx(ours["picture.psnr"], abs=0.1)
    assert theirs["normal.degrees"] == pytest.approx(ours["normal.degrees"], abs=0.1)


def test_several_avatars_of_several_subjects_make_one_table(run: Path, subject_with_truth: Subject, tmp_path: Path):
    """The same run twice, and once more on a copy of the subject under another name."""
    twin = tmp_path / "twin"
    shutil.copytree(subject_with_truth.folder, twin)
    runs = []
    for name in ("first", "second"):
        shutil.copytree(run, tmp_path / name)
        runs.append(tmp_path / name)
    request = TruthRequest(runs=(run, runs[0]), out=tmp_path / "out")
    one = score_truth(request, quiet)
    assert [row.row for row in one.rows].count("nothing done") == 1
    assert [row.row for row in one.rows].count("avatar") == 2
    first, second = (row.scores.numbers() for row in one.rows if row.row == "avatar")
    assert first == pytest.approx(second, abs=1e-4)
    other = score_truth(TruthRequest(runs=(runs[1],), subject=twin, out=tmp_path / "out"), quiet)
    assert {row.subject for row in other.rows} == {"twin"}


def test_a_subject_tracked_in_a_crop_of_the_film_scores_alike(
    run: Path, scored: TruthResult, subject_with_truth: Subject, tmp_path: Path
):
    """Beside the film's folder, on a part of its pixels: truth is cut out, and the camera is the crop's."""
    person, crop = tmp_path / "person", Crop(x=8, y=4, side=48, size=48)
    shutil.copytree(truth_folder(subject_with_truth), person / "truth")
    camera = subject_with_truth.track.camera
    centre = torch.from_numpy(crop.from_source(camera.intrinsics[0, 2:].numpy()))
    lens = torch.cat([camera.intrinsics[:, :2], centre[None].float()], 1)
    tracked = replace(
        subject_with_truth,
        folder=person / "tracked",
        source={"truth": "../truth", "crop": asdict(crop)},
        track=subject_with_truth.track.with_camera(replace(camera, intrinsics=lens, height=48, width=48)),
    )
    for number in tracked.track.frames.tolist():
        for kind, read in (("image", read_rgb), ("mask", read_grey), ("semantic", read_grey)):
            film = read(subject_with_truth.folder / kind / f"{number}.png")
            write_png(tracked.folder / kind / f"{number}.png", crop.cut(film))
    save_subject(tracked)
    result = score_truth(TruthRequest(runs=(run,), subject=tracked.folder, out=tmp_path / "out"), quiet)
    assert {row.subject for row in result.rows} == {"person/tracked"}
    for row in ("nothing done", "avatar", "perfect maps"):
        cut, whole = scores_of(result, row), scores_of(scored, row)
        assert cut["silhouette_iou"] == pytest.approx(whole["silhouette_iou"], abs=0.02)
        assert cut["normal.degrees_face"] == pytest.approx(whole["normal.degrees_face"], abs=0.2)
        assert cut["relit.left.psnr_face_aligned"] == pytest.approx(whole["relit.left.psnr_face_aligned"], abs=0.5)
    for row in ("nothing done", "avatar"):
        cut, whole = scores_of(result, row), scores_of(scored, row)
        assert cut["vertices_mm"] == pytest.approx(whole["vertices_mm"], abs=0.01)
        assert cut["views.30_0.psnr"] == pytest.approx(whole["views.30_0.psnr"], abs=1)


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["flare", "eval", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    return stopped.value.code or 0, shown.out, shown.err


def test_people_get_a_table_and_programs_json(run: Path, capsys, monkeypatch, tmp_path: Path):
    code, out, _ = said(capsys, monkeypatch, run, "--truth", "-o", tmp_path)
    assert code == 0
    for words in ("nothing done", "perfect maps", "normals, degrees", "true albedo"):
        assert words in out
    assert "truth.csv" in "".join(out.split())  # a long path goes on in the next line
    code, out, _ = said(capsys, monkeypatch, run, "--truth", "-o", tmp_path, "--json")
    assert json.loads(out, parse_constant=refuse)["rows"][1]["row"] == "avatar"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "RUN"), "several runs"),
        (("RUN", "--predictions-of", "somewhere"), "need --truth"),
        (("RUN", "--truth", "--training"), "held-out frames"),
        (("--truth", "--predictions-of", "somewhere"), "--subject SUBJECT"),
        (("RUN", "--truth", "--predictions-of", "somewhere"), "holds no prediction"),
    ],
)
def test_what_makes_no_sense_is_one_error(words: tuple[str, ...], message: str, run: Path, capsys, monkeypatch):
    code, _, err = said(capsys, monkeypatch, *(run if word == "RUN" else word for word in words))
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_a_subject_without_truth_says_what_to_do(run: Path, subject_with_truth: Subject, capsys, monkeypatch, tmp_path):
    shutil.copytree(subject_with_truth.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("truth"))
    code, _, err = said(capsys, monkeypatch, run, "--truth", "--subject", tmp_path / "bare")
    assert code == 2
    assert "has no truth" in " ".join(err.split())
    assert "flare synth" in err


def test_an_avatar_is_not_scored_on_what_it_was_trained_on(subject_with_truth: Subject, tmp_path: Path):
    overrides = (*SETTINGS, "data.holdout=0.0", "stage.steps=2")
    fit(FitRequest(subject=subject_with_truth.folder, run=tmp_path / "all", config="demo", overrides=overrides), quiet)
    with pytest.raises(SubjectError, match="trained on every frame") as caught:
        score_truth(TruthRequest(runs=(tmp_path / "all",)), quiet)
    assert "data.holdout" in caught.value.hint


def test_a_kind_of_predictions_that_lacks_a_frame_is_one_error(run: Path, subject_with_truth: Subject, tmp_path: Path):
    evaluate(EvalRequest(run=run, predictions=PredictionsRequest(folder=tmp_path)), quiet)
    (tmp_path / "albedo" / "14.png").unlink()
    with pytest.raises(SubjectError, match=r"albedo.14\.png"):
        score_truth(TruthRequest(predictions_of=(tmp_path,), subject=subject_with_truth.folder, out=tmp_path), quiet)
