"""The stages of all subjects as tasks of Ray, which places them, retries them elsewhere, and waits for what they need.

Preprocessing and exporting take CPU cores, fitting and scoring a part of a GPU and no core of Ray's count: a GPU never
waits for a core that decodes a video. Where there is no GPU they take cores too.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import secrets
import signal
from collections.abc import Generator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, final

import torch

from flare_cli.apps.batch.board import Board, ShowBoard
from flare_cli.apps.batch.stages import PATIENCE, Outcome, Place, failed, run_stage
from flare_cli.apps.batch.work import BEFORE, Stage, Work
from flare_cli.errors import BackendError, WorkerError
from flare_cli.parallel.cores import cores
from flare_cli.parallel.processes import MAX_PROCESSES

ON_GPU: frozenset[Stage] = frozenset({"fit", "eval"})
# A fit takes 0.7 GiB of a GPU at 512 x 512 and its CUDA context half of one (docs/performance.md); six at a time took
# 18.8 s of an H100 each, and what one leaves idle.
FIT_MEMORY, MOST_FITS = 2 * 2**30, 6
AHEAD = 4  # subjects under way for each task that can run: enough that nobody waits, few enough that none waits long
HEARTBEAT = 0.5  # seconds between looks at what has begun


def ray_is_here() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def _ray() -> Any:
    """Ray, imported where it is used: other commands start without, and it need not be installed."""
    return importlib.import_module("ray")


@final
class OnRay:
    """A cluster to run on, for a `with` block: the one at `address` or in RAY_ADDRESS, else one of this machine's own.

    `retries` is how often a stage is begun again elsewhere when its worker or node dies. `jobs` bounds the subjects
    under way, `fits_per_gpu` the fits on one card (None: by its memory).
    """

    def __init__(
        self, *, address: str | None, device: str, retries: int, jobs: int | None, fits_per_gpu: int | None
    ) -> None:
        if not ray_is_here():
            raise BackendError("Ray is not installed", hint="pip install flare-cli[batch], or leave --address out")
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._retries, self._jobs = retries, jobs
        self._gpus = 0 if device == "cpu" else torch.cuda.device_count()
        self._fits_per_gpu = fits_per_gpu or _fits_on(self._gpus)
        self._any_gpu = device != "cpu"
        self._started = False
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nobody is told
        if self._address is None:
            # Read when Ray is imported: it listens on 127.0.0.1 alone, as on systems on which it has no clusters.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            # Else Ray writes one into the home folder, which may be missing, for all to read.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

    def __enter__(self) -> OnRay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            _ray().shutdown()

    def has_gpu(self) -> bool:
        """Whether fits go to a GPU."""
        if not self._any_gpu or self._address is None:
            return self._gpus > 0
        self._start(subjects=0)
        return _total("GPU") >= 1

    def _start(self, subjects: int) -> None:
        """Start this machine's own Ray or connect to another one, unless this program has done so."""
        if _ray().is_initialized():
            return
        before = signal.getsignal(signal.SIGTERM)  # Ray sets its own, which ends without a word
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if self._address is None:
                # Each fit on a GPU keeps a core busy that Ray does not count.
                count = max(1, cores() - min(subjects, self._gpus * self._fits_per_gpu))
                _ray().init(num_cpus=count, num_gpus=self._gpus, include_dashboard=False, **quiet)
            else:
                _ray().init(address=self._address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BackendError(
                f"Ray does not start or is not at {self._address or 'this machine'}: {error}",
                hint="check --address and RAY_ADDRESS (`ray status`), or use --jobs 1 to do without",
            ) from error
        finally:
            signal.signal(signal.SIGTERM, before)
        self._started = True

    def run(self, works: Sequence[Work], board: Board, show: ShowBoard) -> Generator[Outcome]:
        """The outcome of every stage that is wanted, as they end."""
        if not works:
            return
        self._start(len(works))
        tasks = _Tasks(len(works), self._retries, self._fits_per_gpu if self.has_gpu() else 0)
        coming, waiting, lost = iter(works), dict[Any, tuple[Work, Stage]](), set[str]()
        most = self._jobs or AHEAD * tasks.at_once
        while True:
            under_way = {work.name for work, _ in waiting.values()}
            for work in islice(coming, max(0, most - len(under_way))):
                waiting |= {reference: (work, stage) for stage, reference in tasks.submit(work).items()}
            if not waiting:
                return
            ended, _ = _ray().wait(list(waiting), num_returns=len(waiting), timeout=HEARTBEAT)
            for name, stage in tasks.begun():
                board.start(name, stage)
            for reference in ended:
                outcome = _outcome(reference, *waiting.pop(reference), lost)
                board.end(outcome)
                yield outcome
            show(board)


@final
class _Tasks:
    """Each stage as a remote function with its resources. `fits_per_gpu` is 0 where there is no GPU."""

    def __init__(self, subjects: int, retries: int, fits_per_gpu: int) -> None:
        counts = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
        # A task on few cores wastes less than one on many: many subjects take a core each, few share them all.
        share = max(1, min(sum(counts) // max(subjects, 1), max(counts, default=1), MAX_PROCESSES))
        # Workers say here what they begin. It lives where this program does: no other node takes it along.
        here = {"num_cpus": 0, "resources": {_this_node(): 0.001}}
        self._queue = importlib.import_module("ray.util.queue").Queue(actor_options=here)
        self._remote: dict[Stage, Any] = {}
        self._place: dict[Stage, Place] = {}
        for stage in BEFORE:
            on_gpu = fits_per_gpu > 0 and stage in ON_GPU
            needs = {"num_cpus": 0, "num_gpus": 1 / fits_per_gpu} if on_gpu else {"num_cpus": share, "num_gpus": 0}
            self._remote[stage] = _ray().remote(max_retries=retries, retry_exceptions=False, **needs)(_told)
            device = "cuda" if on_gpu else "cpu"
            self._place[stage] = Place(device=device, cores=1 if on_gpu else share, patience=PATIENCE)
        self.at_once = max(1, sum(counts) // share) + int(_total("GPU")) * fits_per_gpu

    def submit(self, work: Work) -> dict[Stage, Any]:
        """A reference for each stage of a subject that is wanted; each waits for the one before it."""
        references: dict[Stage, Any] = {}
        for stage in work.stages:
            before = BEFORE[stage]
            after = None if before is None else references.get(before)
            references[stage] = self._remote[stage].remote(after, work, stage, self._place[stage], self._queue)
        return references

    def begun(self) -> list[tuple[str, Stage]]:
        """The stages that workers began since the last call."""
        return self._queue.get_nowait_batch(self._queue.qsize())


def _told(before: Outcome | None, work: Work, stage: Stage, place: Place, queue: Any) -> Outcome:
    """What a worker does."""
    # Not waited for: of a worker that waits, Ray gives the core to another one.
    queue.actor.put_nowait.remote((work.name, stage))
    return run_stage(before, work, stage, place)


def _outcome(reference: Any, work: Work, stage: Stage, lost: set[str]) -> Outcome:
    """What a task ended in. That its worker died as often as it may is a failure like others, and adds to `lost`."""
    try:
        return _ray().get(reference)
    except _ray().exceptions.RayError as error:
        if work.name in lost:  # what waits for a lost task ends with its error
            return Outcome(name=work.name, stage=stage, state="skipped")
        lost.add(work.name)
        reason = (str(error).splitlines() or [""])[0]
        death = WorkerError(
            f"the worker of this stage was lost each time: {reason}",
            hint="see Ray's logs for why; the same command goes on where it was, --retries tries more often",
        )
        return failed(work, stage, death)


def _total(resource: str) -> float:
    """How much of a resource the cluster has."""
    return _ray().cluster_resources().get(resource, 0.0)


def _this_node() -> str:
    """The resource that only the driver's node has."""
    own = _ray().get_runtime_context().get_node_id()
    return next(
        name
        for node in _ray().nodes()
        if node["NodeID"] == own
        for name in node["Resources"]
        if name.startswith("node:")
    )


def _fits_on(gpus: int) -> int:
    """How many fits share one of this machine's cards."""
    if gpus == 0:
        return MOST_FITS  # cards of a cluster: H100s are meant, --fits-per-gpu says otherwise
    memory = min(torch.cuda.get_device_properties(index).total_memory for index in range(gpus))
    return max(1, min(MOST_FITS, memory // FIT_MEMORY))
