"""A fit that refines its track, and the commands that draw by it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_settings import FEW_RAYS

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.data.image import read_rgb
from flare_cli.errors import AvatarError, ConfigError
from flare_cli.fit.run_folder import load_run
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.film import Film
from flare_cli.subject.folder import Subject, load_subject, load_track, save_subject
from flare_cli.synthetic.recording import make_synthetic_subject
from flare_cli.synthetic.tracker_error import with_tracker_error

SETTINGS = ("data.size=64", "stage.steps=30", "material.log2_entries=12", "track.focal_length=0.01", *FEW_RAYS)
REFINED = (*SETTINGS, "track.refine=true")
PER_FRAME = ("pose", "expression", "translation")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Ten frames with the track of a tracker that errs."""
    exact = make_synthetic_subject(tmp_path_factory.mktemp("subject") / "me", frames=10, size=64, samples=4)
    noisy = replace(exact, track=with_tracker_error(exact.track, noise=1.0, drift=1.0, seed=1))
    save_subject(noisy)
    return load_subject(exact.folder)


@pytest.fixture(scope="module")
def run(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "me"
    result = fit(FitRequest(subject=subject.folder, run=folder, config="demo", overrides=REFINED), quiet)
    assert result.track == folder / "track"
    return folder


def test_the_run_holds_a_track_of_all_frames_and_the_subject_keeps_its_own(subject: Subject, run: Path):
    loaded = load_run(run, torch.device("cpu"))
    fitted, given = loaded.subject().track, loaded.given_subject().track
    assert torch.equal(fitted.frames, subject.track.frames)
    trained = torch.isin(fitted.frames, torch.tensor(list(loaded.origin.training_frames)))
    for name in PER_FRAME:
        assert torch.equal(getattr(given, name), getattr(subject.track, name))
        assert (getattr(fitted, name) != getattr(given, name))[trained].flatten(1).any(1).all()
    assert not torch.equal(fitted.camera.intrinsics, given.camera.intrinsics)
    source = json.loads((run / "track" / "flare.json").read_text())["source"]
    assert source["refined"] == list(loaded.origin.training_frames)


def test_only_the_fitted_subject_gets_the_refined_track(subject: Subject, run: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(subject.folder, other)
    loaded = load_run(run, torch.device("cpu"))
    assert torch.equal(loaded.with_fitted_track(load_subject(other)).track.pose, subject.track.pose)
    assert not torch.equal(loaded.with_fitted_track(subject).track.pose, subject.track.pose)


def test_an_avatar_without_its_track_is_told(run: Path, tmp_path: Path):
    shutil.copy(run / "avatar.safetensors", tmp_path)
    with pytest.raises(AvatarError, match="lacks the refined track"):
        evaluate(EvalRequest(run=tmp_path), quiet)


def test_a_fit_by_the_given_track_removes_an_earlier_ones(subject: Subject, tmp_path: Path):
    for settings, kept in ((REFINED, True), (SETTINGS, False)):
        overrides = (*settings, "stage.steps=3")
        fit(FitRequest(subject=subject.folder, run=tmp_path, config="demo", overrides=overrides, fresh=True), quiet)
        assert (tmp_path / "track").is_dir() == kept


def test_the_fitted_subject_drives_by_its_refined_track(subject: Subject, run: Path, tmp_path: Path):
    """Frames that the fit has seen, drawn by `animate` as by `eval`: where a given track would move the head."""
    evaluate(EvalRequest(run=run, training=True), quiet)
    film = Film(out=tmp_path / "own", frames=1, fill=False, bust="open")  # as eval draws
    animate(AnimateRequest(run=run, driver=subject.folder, film=film, absolute=True), quiet)
    drawn, scored = read_rgb(tmp_path / "own" / "00001.png"), read_rgb(run / "eval" / "frames" / "1.png")
    assert np.abs(drawn.astype(int) - scored).mean() < 0.1


def test_frames_refined_on_their_own_pixels_are_scored_under_a_name_of_their_own(run: Path):
    plain = evaluate(EvalRequest(run=run), quiet)
    assert plain.refined_on_test_pixels is None
    result = evaluate(EvalRequest(run=run, refine_test=True), quiet)
    assert result.mean == plain.mean
    assert result.refined_on_test_pixels is not None
    assert result.refined_on_test_pixels["psnr_foreground"] > result.mean["psnr_foreground"]
    assert json.loads(result.report.read_text())["refined_on_test_pixels"] == result.refined_on_test_pixels


def test_write_track_replaces_the_subjects_own_and_keeps_the_first(subject: Subject, tmp_path: Path):
    mine = tmp_path / "me"
    shutil.copytree(subject.folder, mine)
    before = (mine / "flame_params.json").read_bytes()
    for name in ("first", "second"):
        request = FitRequest(
            subject=mine, run=tmp_path / name, config="demo", overrides=(*REFINED, "stage.steps=4"), write_track=True
        )
        fit(request, quiet)
        assert torch.equal(load_subject(mine).track.pose, load_track(tmp_path / name / "track").pose)
        assert (mine / "given_track" / "flame_params.json").read_bytes() == before


def test_write_track_without_refinement_is_refused(subject: Subject, tmp_path: Path):
    request = FitRequest(
        subject=subject.folder, run=tmp_path / "run", config="demo", overrides=SETTINGS, write_track=True
    )
    with pytest.raises(ConfigError, match="does not refine"):
        fit(request, quiet)
    assert not (tmp_path / "run").exists()
