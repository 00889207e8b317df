"""`flare eval`: scores on frames that the fit has not seen, as numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flare_cli.errors import SubjectError
from flare_cli.fit.frames import Frames, load_frames
from flare_cli.fit.run_folder import Run, load_run, newest_run
from flare_cli.fit.track.on_pixels import refined_on_pixels
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.show.envmaps import named_envmaps
from flare_cli.show.predictions import PredictionsRequest, write_predictions
from flare_cli.show.report import TruthScore, score_frames, write_report
from flare_cli.subject.folder import Subject, load_subject
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """What `flare eval` was asked. Without a run, the newest one; without a subject, the one that was fitted.

    With `predictions` the scored track's pictures are written for scorers of other people. With `refine_test` the
    frames are scored once more after their track was refined on their own pictures.
    """

    run: Path | None = None
    subject: Path | None = None
    training: bool = False
    refine_test: bool = False
    predictions: PredictionsRequest | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """Mean and median scores over the frames, and where the details are.

    `refined_on_test_pixels` are the means after the frames' track was refined on the very pictures that score it: not
    to be set beside numbers of frames that nobody has seen.
    """

    run: Path
    frames: int
    size: tuple[int, int]
    mean: dict[str, float | None]
    median: dict[str, float | None]
    refined_on_test_pixels: dict[str, float | None] | None
    lpips_status: str
    truth: TruthScore | None
    report: Path
    table: Path
    pictures: Path
    page: Path
    predictions: Path | None


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def evaluate(request: EvalRequest, progress: ProgressCallback) -> EvalResult:
    """Draw the held-out frames and score them; writes `eval/` in the run folder."""
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    subject = run.with_fitted_track(load_subject(request.subject)) if request.subject else run.subject()
    track = _scored_track(request, run, subject)
    if request.predictions is not None:
        named_envmaps(request.predictions.envmaps)  # a wrong name is told before the work
    frames = load_frames(subject, track, run.config.data.size, partial(progress, "load"))
    folder, rasterizer = run.folder / "eval", run.rasterizer()
    scores = score_frames(run.avatar, subject, frames, rasterizer, folder / "frames", partial(progress, "score"))
    refined = _refined_on_pixels(run, subject, frames, progress) if request.refine_test else None
    if request.predictions is not None:
        write_predictions(request.predictions, run.avatar, frames.track, rasterizer, progress)
    scored = "another recording" if request.subject else "training" if request.training else "held out"
    size = (frames.track.camera.height, frames.track.camera.width)
    about: dict[str, Any] = {
        "run": str(run.folder),
        "subject": str(subject.folder),
        "scored": scored,
        "frames": len(scores.frames),
        "size": list(size),
    }
    if refined is not None:
        about["refined_on_test_pixels"] = refined
    trained = _frames_of(subject.track, run.origin.training_frames) if scored == "held out" else None
    files = write_report(folder, scores, run.avatar, frames, rasterizer, about, trained=trained)
    return EvalResult(
        run=run.folder,
        frames=len(scores.frames),
        size=size,
        mean=scores.mean(),
        median=scores.median(),
        refined_on_test_pixels=refined,
        lpips_status=scores.lpips_status,
        truth=scores.truth,
        report=files.report,
        table=files.table,
        pictures=files.pictures,
        page=files.page,
        predictions=request.predictions.folder if request.predictions else None,
    )


def _refined_on_pixels(
    run: Run, subject: Subject, frames: Frames, progress: ProgressCallback
) -> dict[str, float | None]:
    """Mean scores after pose and expression were refined on the frames' own pictures, which go to `eval/refined`."""
    track = refined_on_pixels(run.avatar, frames, run.config, partial(progress, "refine"))
    refined, folder = replace(frames, track=track), run.folder / "eval" / "refined"
    score = partial(progress, "score refined")
    return score_frames(run.avatar, subject, refined, run.rasterizer(), folder, score).mean()


def _scored_track(request: EvalRequest, run: Run, subject: Subject) -> Track:
    """The frames to score: of another recording all, of the fitted one those held out, or those trained on."""
    track = subject.track.of_head(run.avatar.head)
    if request.subject is None:
        numbers = run.origin.training_frames if request.training else run.origin.held_out_frames
        track = _frames_of(track, numbers)
    if not len(track):
        raise SubjectError("there are no frames to score", hint="fit with data.holdout > 0, or use --training")
    return track


def _frames_of(track: Track, numbers: Sequence[int]) -> Track:
    return track[torch.isin(track.frames, torch.tensor(numbers, dtype=torch.long))]
