"""What a fit leaves in its run folder when it is refused, cut off, or started again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.small_settings import FEW_RAYS

from flare_cli.apps.fit import FitRequest, FitResult, fit
from flare_cli.errors import AvatarError, SubjectError
from flare_cli.fit.run_folder import load_run
from flare_cli.parallel.progress import ProgressCallback, quiet
from flare_cli.synthetic.recording import make_synthetic_subject

STEPS = 6
SETTINGS = ("data.size=32", f"stage.steps={STEPS}", "material.log2_entries=8", "run.checkpoint_seconds=0", *FEW_RAYS)


class CutOffError(Exception):
    """Stands for whatever ends a process: nothing in the program catches it."""


def cut_off_at(step: int) -> ProgressCallback:
    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("fit") and done == step:
            raise CutOffError

    return progress


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic_subject(tmp_path_factory.mktemp("subjects") / "a", frames=6, size=32, samples=1).folder


@pytest.fixture
def fitted(subject: Path, tmp_path: Path) -> Callable[..., FitResult]:
    """Run `flare fit` with a few steps into `tmp_path / "run"`."""

    def run(who: Path = subject, *more: str, fresh: bool = False, progress: ProgressCallback = quiet) -> FitResult:
        request = FitRequest(
            subject=who, run=tmp_path / "run", config="demo", overrides=(*SETTINGS, *more), device="cpu", fresh=fresh
        )
        return fit(request, progress)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_refused_resume_writes_nothing(fitted, subject: Path, tmp_path: Path):
    with pytest.raises(CutOffError):
        fitted(progress=cut_off_at(3))
    before = contents(tmp_path / "run")
    assert "checkpoint.safetensors" in before
    with pytest.raises(AvatarError, match="other settings"):
        fitted(subject, "loss.mask=1.0")
    assert contents(tmp_path / "run") == before


def test_a_fresh_fit_that_is_refused_keeps_the_finished_avatar(fitted, subject: Path, tmp_path: Path):
    fitted()
    before = contents(tmp_path / "run")
    incomplete = shutil.copytree(subject, tmp_path / "incomplete")
    (incomplete / "mask" / "2.png").unlink()
    with pytest.raises(SubjectError, match=r"2\.png can't be read"):
        fitted(incomplete, fresh=True)
    assert contents(tmp_path / "run") == before


def test_a_fresh_fit_that_is_cut_off_keeps_the_finished_avatar_and_goes_on(fitted, tmp_path: Path):
    old = fitted().avatar.read_bytes()
    with pytest.raises(CutOffError):
        fitted(progress=cut_off_at(3), fresh=True)
    assert (tmp_path / "run" / "avatar.safetensors").read_bytes() == old
    load_run(tmp_path / "run", torch.device("cpu"))
    again = fitted()
    assert again.resumed
    assert again.avatar.read_bytes() != old  # the seconds differ
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    with pytest.raises(AvatarError, match="already holds"):
        fitted()


def test_a_fresh_fit_does_not_go_on_from_a_checkpoint(fitted, tmp_path: Path):
    with pytest.raises(CutOffError):
        fitted(progress=cut_off_at(3))
    steps: list[int] = []
    result = fitted(
        progress=lambda what, done, total: steps.append(done) if what.startswith("fit") else None, fresh=True
    )
    assert steps[0] == 1
    assert not result.resumed


def test_another_subject_does_not_go_on_with_a_fit(fitted, tmp_path: Path):
    with pytest.raises(CutOffError):
        fitted(progress=cut_off_at(3))
    before = contents(tmp_path / "run")
    other = make_synthetic_subject(tmp_path / "b", frames=6, size=32, samples=1, seed=1).folder
    with pytest.raises(AvatarError, match="another subject"):
        fitted(other)
    assert contents(tmp_path / "run") == before


def test_a_subject_that_was_moved_goes_on_with_its_fit(fitted, subject: Path, tmp_path: Path):
    with pytest.raises(CutOffError):
        fitted(progress=cut_off_at(3))
    assert fitted(shutil.copytree(subject, tmp_path / "moved")).resumed
