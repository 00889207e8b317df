"""`flare batch`: many recordings to avatars, scores and exported files; what fails is reported, the rest goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from flare_cli.apps.batch.board import Board, ShowBoard
from flare_cli.apps.batch.in_turn import InTurn
from flare_cli.apps.batch.manifest import Entry, find_recordings
from flare_cli.apps.batch.on_ray import OnRay, ray_is_here
from flare_cli.apps.batch.slurm import write_slurm
from flare_cli.apps.batch.stages import Outcome, kept_stages
from flare_cli.apps.batch.storage import Storage
from flare_cli.apps.batch.summary import SummaryFiles, rows_of, write_summary
from flare_cli.apps.batch.work import Defaults, Stage, Work, is_begun, is_done, known_formats, plan, read_record
from flare_cli.data.folder_lock import alone_in
from flare_cli.errors import FlareError

PATIENCE = 60.0  # seconds that a batch waits for another one to write its summary


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What `flare batch` was asked.

    `inputs` are videos, subject folders, folders of these, patterns, or manifests; `defaults` hold for all that say
    nothing else, `config` None picks `default` on a GPU and `cpu` without one. `only` takes the `only[0]`-th to the
    `only[1]`-th recording, counted from 0. `jobs` 1 runs them one after the other, without Ray.
    """

    inputs: tuple[str, ...]
    out: Path
    config: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    address: str | None = None
    device: str = "auto"
    jobs: int | None = None
    retries: int = 3
    fits_per_gpu: int | None = None
    only: tuple[int, int] | None = None
    dry_run: bool = False
    slurm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of each subject: its outcomes by stage. `files` are the summary's, None where nothing was run.

    A dry run has `planned`: what would be done of each stage, `done`, `to do` or `goes on`. `script` is Slurm's.
    """

    subjects: int
    failed: int
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    planned: dict[str, dict[Stage, str]] = field(default_factory=dict)
    files: SummaryFiles | None = None
    script: Path | None = None


def batch(request: BatchRequest, show: ShowBoard, say: Callable[[str], None]) -> BatchResult:
    """Do everything that is wanted and not there yet. Raises `FlareError`s for what is wrong with the request itself.

    `show` is called whenever something begins or ends, `say` with what a user should know.
    """
    known_formats(request.defaults.export)
    _check_places(request)
    entries = find_recordings(request.inputs)
    if request.only is not None:
        first, last = request.only
        entries = entries[first : last + 1]
    if request.slurm:
        script = write_slurm(entries, request.out, request.defaults, request.config, request.jobs)
        return BatchResult(subjects=len(entries), failed=0, script=script)
    with _engine(request, len(entries), say) as engine:
        config = request.config or ("default" if engine.has_gpu() else "cpu")
        works = [
            plan(_absolute(entry), request.out.absolute(), replace(request.defaults, config=_path(config)))
            for entry in entries
        ]
        if request.dry_run:
            planned = {work.name: _planned(work) for work in works}
            return BatchResult(subjects=len(works), failed=0, planned=planned)
        outcomes = {work.name: kept_stages(work) for work in works}
        board = Board(works)
        for outcome in (outcome for kept in outcomes.values() for outcome in kept):
            board.end(outcome)
        for outcome in engine.run(_left(works, outcomes), board, show):
            outcomes[outcome.name].append(outcome)
        seconds = board.elapsed()
    rows = rows_of(works, outcomes)
    files = None
    if request.only is None:  # parts of an array would write over each other's
        with alone_in(request.out, wait=PATIENCE):
            files = write_summary(request.out, rows, seconds)
    failed = sum(row.state == "failed" for row in rows)
    return BatchResult(subjects=len(works), failed=failed, outcomes=outcomes, files=files)


def _check_places(request: BatchRequest) -> None:
    """Raises `FlareError` where the output is a URL, `BackendError` for storage that can't be used."""
    url = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(request.out))  # of more than one letter: a drive has one
    if url is not None:
        raise FlareError(
            f"-o {request.out} is a URL, not a folder",
            hint=f"name a folder of each machine's own with -o, and --storage {url[1]}://... beside it",
        )
    if request.defaults.storage is not None:
        Storage(request.defaults.storage)


def _left(works: Sequence[Work], kept: Mapping[str, Sequence[Outcome]]) -> list[Work]:
    """The works with the stages that are not kept."""
    stages = {work.name: {outcome.stage for outcome in kept[work.name]} for work in works}
    left = [replace(work, stages=tuple(s for s in work.stages if s not in stages[work.name])) for work in works]
    return [work for work in left if work.stages]


def _absolute(entry: Entry) -> Entry:
    """The entry for workers that have other current folders."""
    return replace(entry, input=str(Path(entry.input).absolute()))


def _path(config: str) -> str:
    """A config's name, or its file for workers that have other current folders."""
    return str(Path(config).absolute()) if config.endswith(".toml") else config


def _engine(request: BatchRequest, subjects: int, say: Callable[[str], None]) -> OnRay | nullcontext[InTurn]:
    """Ray, unless it is not wanted or not here."""
    in_turn = nullcontext(InTurn(request.device))
    if request.dry_run or request.jobs == 1 or (subjects == 1 and request.address is None):
        return in_turn
    if request.address is None and not ray_is_here():
        say("Ray is not installed: the subjects run one after the other (pip install flare-cli[batch])")
        return in_turn
    return OnRay(
        address=request.address, device=request.device, retries=request.retries, jobs=request.jobs,
        fits_per_gpu=request.fits_per_gpu,
    )  # fmt: skip


def _planned(work: Work) -> dict[Stage, str]:
    record = read_record(work)
    return {
        stage: "done" if is_done(work, stage, record) else "goes on" if is_begun(work, stage) else "to do"
        for stage in work.stages
    }
