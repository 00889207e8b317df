"""`flare eval --truth`: avatars and other people's predictions against what a synthetic subject was made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from flare_cli.errors import SubjectError
from flare_cli.fit.frames import load_frames
from flare_cli.fit.run_folder import Run, load_run, newest_run
from flare_cli.head.library import load_head
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.render.light.environment import prefilter
from flare_cli.show.honest_rows import attributed, nothing_done, perfect_maps
from flare_cli.show.predicted import Prediction, predicted_by_avatar
from flare_cli.show.predictions import predicted_frames, read_predictions
from flare_cli.show.true_lights import TrueLights
from flare_cli.show.true_visibility import true_visibility
from flare_cli.show.truth_report import Row, table_report, write_table
from flare_cli.show.truth_scores import score_against_truth
from flare_cli.show.truth_sheet import TruthSheet
from flare_cli.subject.folder import Subject, load_subject
from flare_cli.subject.truth import frames_with_truth, load_truth, truth_folder

Contestant: TypeAlias = Run | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthRequest:
    """What `flare eval --truth` was asked: runs, of any subjects, and folders of predictions of one.

    Without either the newest run. `subject` is the one of `predictions_of`, by default that of the first run; given
    with runs it is scored in place of their own. `out` is where the table goes, by default `eval/` of the only run, or
    `benchmark/`.
    """

    runs: tuple[Path, ...] = ()
    predictions_of: tuple[Path, ...] = ()
    subject: Path | None = None
    out: Path | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthResult:
    """The table, honest rows before the avatars of each subject, its JSON, and the files written: JSON, CSV, sheets."""

    rows: list[Row]
    report: dict[str, Any]
    files: list[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Who is scored on the same frames of one subject."""

    subject: Subject
    numbers: list[int]
    contestants: list[Contestant] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The person, by the folder of the truth; and the subject's own where the film was tracked beside it."""
        person, folder = truth_folder(self.subject).resolve().parent, self.subject.folder.resolve()
        return person.name if folder == person else f"{person.name}/{folder.name}"


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def score_truth(request: TruthRequest, progress: ProgressCallback) -> TruthResult:
    """Score everybody on held-out frames, at the size of the subject's pictures; writes table and sheets."""
    device = choose_device(request.device)
    paths = request.runs or (() if request.predictions_of else (newest_run(),))
    runs = [load_run(path, device, rasterizer=request.rasterizer) for path in paths]
    groups = _groups(request, runs)
    out = request.out or (runs[0].folder / "eval" if len(runs) == 1 else Path("benchmark"))
    rows: list[Row] = []
    sheets: list[Path] = []
    for group in groups:
        found, sheet = _score_group(group, device, request.rasterizer or "auto", progress)
        rows += found
        sheets.append(sheet.write(out / f"truth_{group.name.replace('/', '_')}_{len(sheets) + 1}.png"))
    report = table_report(rows, {"runs": [str(run.folder) for run in runs]})
    return TruthResult(rows=rows, report=report, files=[*write_table(out, rows, report), *sheets])


def _groups(request: TruthRequest, runs: list[Run]) -> list[_Group]:
    """Everybody by subject and frames. Raises `SubjectError` where there is nothing to score somebody on."""
    asked = None if request.subject is None else load_subject(request.subject)
    groups: dict[tuple[Path, tuple[int, ...]], _Group] = {}

    def add(subject: Subject, numbers: list[int], contestant: Contestant) -> None:
        key = subject.folder.resolve(), tuple(numbers)
        groups.setdefault(key, _Group(subject=subject, numbers=numbers)).contestants.append(contestant)

    for run in runs:
        add(subject := asked or run.given_subject(), _unseen(run, subject), run)
    if request.predictions_of:
        if asked is None and not runs:
            raise SubjectError("--predictions-of needs to know of whom", hint="name the subject: --subject SUBJECT")
        subject = asked or runs[0].given_subject()
        for folder in request.predictions_of:
            add(subject, predicted_frames(folder, frames_with_truth(subject)), folder)
    return list(groups.values())


def _unseen(run: Run, subject: Subject) -> list[int]:
    """The subject's frames with truth on which the run was not trained."""
    is_own = subject.folder.resolve() == Path(run.origin.subject).resolve()
    trained = run.origin.training_frames if is_own else ()
    numbers = [number for number in frames_with_truth(subject) if number not in set(trained)]
    if not numbers:
        raise SubjectError(
            f"{run.folder} was trained on every frame of {subject.folder} that has truth",
            hint="fit with data.holdout > 0, so that the recording's last frames are held out",
        )
    return numbers


def _score_group(
    group: _Group, device: torch.device, rasterizer_name: str, progress: ProgressCallback
) -> tuple[list[Row], TruthSheet]:
    subject, count = group.subject, len(group.contestants) + 2

    def report(done: int) -> None:
        progress(f"score {group.name}", done, count)

    report(0)
    track = subject.track[torch.isin(subject.track.frames, torch.tensor(group.numbers))]
    size = (track.camera.height, track.camera.width)
    frames = load_frames(subject, track, size[0]).to(device)
    truth = load_truth(subject, track.frames.tolist(), *size, device=device)
    sheet = TruthSheet(truth)
    rows: list[Row] = []

    def add(row: str, prediction: Prediction, name: str = "", *, shown: bool = True) -> None:
        scores = score_against_truth(truth, prediction)
        rows.append(Row(subject=group.name, name=name, row=row, frames=len(track), scores=scores))
        if shown:
            sheet.add(name or row, prediction, scores)

    head, rasterizer = load_head(track.head).to(device), choose_rasterizer(rasterizer_name, device)
    add("nothing done", nothing_done(head, frames, rasterizer, truth))
    for done, contestant in enumerate(group.contestants, 1):
        report(done)
        if isinstance(contestant, Path):
            add("predictions", read_predictions(contestant, track, truth.relit, device), str(contestant))
            continue
        name, avatar = str(contestant.folder), contestant.avatar
        fitted = contestant.with_fitted_track(subject).track
        fitted = fitted[torch.isin(fitted.frames, track.frames)]
        lights = TrueLights.of(truth, avatar.light.of_environment).in_world_of(fitted.camera.to(device), truth.camera)
        predicted = predicted_by_avatar(avatar, fitted, contestant.rasterizer(), truth, lights)
        add("avatar", predicted.prediction, name)
        for row, replaced in attributed(predicted, truth, lights).items():
            add(row, replaced, name, shown=False)
    add("perfect maps", perfect_maps(truth, TrueLights.of(truth, prefilter)))
    explicit = [c.avatar.light for c in group.contestants if isinstance(c, Run) and c.avatar.visibility is not None]
    if explicit and truth.mesh is not None:
        visibility = true_visibility(truth, truth.mesh, rasterizer)
        shadowed = replace(truth, maps=replace(truth.maps, visibility=visibility))
        add("perfect maps, visibility", perfect_maps(shadowed, TrueLights.of(truth, explicit[0].of_environment)))
    report(count)
    return rows, sheet
