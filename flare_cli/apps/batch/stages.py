"""One stage of one subject, done here; whatever goes wrong is part of the outcome, so that the others go on."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from flare_cli.apps.batch.storage import stored
from flare_cli.apps.batch.work import BEFORE, Stage, Work, begin, is_done, note, read_record
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.preprocess import preprocess
from flare_cli.data.atomic import write_text_whole
from flare_cli.data.folder_lock import alone_in
from flare_cli.data.json_file import read_json
from flare_cli.errors import FlareError, file_error
from flare_cli.parallel.cores import CORES
from flare_cli.parallel.progress import quiet
from flare_cli.track.request import PreprocessRequest

TRACE = "error.txt"  # in the subject's folder: of a bug
# Seconds that a stage waits for whoever is in its folder: where a node is lost, its worker may live a little longer.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a stage. `kept`: it was done already; `skipped`: the one before it failed.

    `begun` is when it began, in seconds since 1970 by the clock of the machine that it ran on; 0 where nothing was run.
    `scores` are the means of an eval. A failure has a message and a hint.
    """

    name: str
    stage: Stage
    state: Literal["done", "kept", "failed", "skipped"]
    begun: float = 0.0
    seconds: float = 0.0
    message: str = ""
    hint: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether what comes after it can't be done."""
        return self.state in ("failed", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stage runs: the device of its networks and drawings, the cores it may use, and how patient it is."""

    device: str = "auto"
    cores: int | None = None
    patience: float = 0.0


def run_stage(before: Outcome | None, work: Work, stage: Stage, place: Place) -> Outcome:
    """Do a stage, or keep what is there, after the outcome of the one `before` it.

    Errors that a user can mend end up in the outcome, and so do bugs, whose traceback goes to `error.txt`.
    """
    if before is not None and before.stops:
        return Outcome(name=work.name, stage=stage, state="skipped")
    begun, started = time.time(), time.monotonic()
    outcome = _tried(work, stage, place)
    return replace(outcome, begun=begun, seconds=time.monotonic() - started)


def _tried(work: Work, stage: Stage, place: Place) -> Outcome:
    try:
        with _at_most(place.cores), alone_in(work.notes(stage), wait=place.patience), stored(work, stage):
            return _kept_or_made(work, stage, place)
    except FlareError as error:
        return failed(work, stage, error)
    except OSError as error:
        return failed(work, stage, file_error(error) or _bug(work, error))
    except Exception as error:  # the other subjects are not to suffer
        return failed(work, stage, _bug(work, error))


def kept_stages(work: Work) -> list[Outcome]:
    """The stages that have nothing left to do, nor those before them; none where what is there can't be read.

    Of object storage nothing is known before a stage has fetched it: it says itself that it kept what it found.
    """
    kept: list[Outcome] = []
    if work.storage is not None:
        return kept
    try:
        record = read_record(work)
        for stage in work.stages:
            before = BEFORE[stage]
            ready = before not in work.stages or before in {outcome.stage for outcome in kept}
            if ready and is_done(work, stage, record):
                kept.append(_outcome_of(work, stage, "kept"))
    except (FlareError, OSError):
        return []  # the stage itself says what is wrong
    return kept


def failed(work: Work, stage: Stage, error: FlareError) -> Outcome:
    """The outcome of a stage that `error` ended."""
    return Outcome(name=work.name, stage=stage, state="failed", message=error.message, hint=error.hint)


def _kept_or_made(work: Work, stage: Stage, place: Place) -> Outcome:
    record = read_record(work)
    state: Literal["done", "kept"] = "kept"
    if not is_done(work, stage, record):
        state, started = "done", time.monotonic()
        made = begin(work, stage, record)
        _make(work, stage, place.device)
        note(work, stage, replace(made, seconds=round(time.monotonic() - started, 2)))
    return _outcome_of(work, stage, state)


def _outcome_of(work: Work, stage: Stage, state: Literal["done", "kept"]) -> Outcome:
    return Outcome(name=work.name, stage=stage, state=state, scores=_scores_of(work) if stage == "eval" else {})


def _make(work: Work, stage: Stage, device: str) -> None:
    if stage == "preprocess":
        for folder, video in work.to_preprocess().items():
            settings: dict[str, Any] = work.settings["preprocess"] | {"parser": work.parser}
            preprocess(PreprocessRequest(video=video, out=folder, device=device, **settings), quiet)
    elif stage == "fit":
        fit(
            FitRequest(subject=work.subject, run=work.run, config=work.config, overrides=work.overrides, device=device),
            quiet,
        )
    elif stage == "eval":
        evaluate(EvalRequest(run=work.run, subject=work.test_subject, device=device), quiet)
    else:
        for kind in work.formats:
            file = work.exported(kind)
            if not file.is_file():
                about = {"kind": kind, "out": file.parent, "name": work.name, "run": work.run}
                export(ExportRequest(device=device, **about, **work.settings["export"]), quiet)


def _scores_of(work: Work) -> dict[str, float | None]:
    """The mean scores of a subject that was scored."""
    mean = read_json(work.report, hint="delete it, and it is made again").get("mean")
    if not isinstance(mean, dict):
        return {}
    return {str(name): value if isinstance(value, float) else None for name, value in mean.items()}


def _bug(work: Work, error: Exception) -> FlareError:
    write_text_whole(work.folder / TRACE, "".join(traceback.format_exception(error)))
    return FlareError(
        f"{type(error).__name__}: {error}", hint=f"this is a bug of flare: report it with {work.folder / TRACE}"
    )


@contextmanager
def _at_most(cores: int | None) -> Generator[None]:
    """So many cores for all that runs in the block; None leaves it."""
    before, threads = os.environ.get(CORES), torch.get_num_threads()
    if cores is None:
        yield
        return
    os.environ[CORES] = str(cores)
    torch.set_num_threads(cores)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ[CORES]
        else:
            os.environ[CORES] = before
