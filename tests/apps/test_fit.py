"""What a fit leaves in its run folder when it is refused, cut off, or started again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flare_cli.apps.fit import FitRequest, FitResult, fit
from flare_cli.apps.progress import ProgressCallback, quiet
from flare_cli.errors import AvatarError
from flare_cli.subject.synthetic import make_synthetic_subject

STEPS = 6
SETTINGS = ("data.size=32", f"stage.steps={STEPS}", "material.log2_entries=8", "run.checkpoint_seconds=0")


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
