"""Work on all cores that holds Python's lock most of the time: worker processes, which threads would not speed up.

A worker imports what its work needs and no more: numpy and OpenCV take a third of a second, torch would take three. It
is a plain Python program that talks through its pipes, so that it needs no `__main__` to import, starts the same way on
every system, shares nothing with a parent that uses a GPU, and ends by itself when the parent does, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, TypeVar, final

from flare_cli.errors import FlareError, WorkerError
from flare_cli.parallel.cores import cores
from flare_cli.parallel.threads import in_parallel

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_PROCESSES = 16  # of 100 MB each; by then drawing heads and encoding films take as long
# There is one worker for each core: what its libraries would share out, they would only wait for.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)
# glibc gives every array of a picture's size back to the system, and takes it again, zeroed, page by page: 8,500 page
# faults a frame. A worker keeps what it has had once (other systems ignore this).
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


@final
class Processes:
    """Worker processes, one for each core, for use in a `with` block; they start while the caller goes on."""

    def __init__(self, count: int | None = None) -> None:
        self._workers = [_Worker() for _ in range(count or min(cores(), MAX_PROCESSES))]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def in_parallel(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """As `threads.in_parallel`, with each call in a process; `function`, items and results must be picklable."""
        return in_parallel(partial(self._done, function), items, threads=len(self._workers))

    def _done(self, function: Callable[[Item], Result], item: Item) -> Result:
        worker = self._idle.get()
        try:
            return worker.done(function, item)
        finally:
            self._idle.put(worker)


@final
class _Worker:
    """One process, seen from the parent."""

    def __init__(self) -> None:
        command = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        # A group of its own: Ctrl-C goes to the parent alone, which then closes the pipe.
        self._process = subprocess.Popen(
            [sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, **KEPT_MEMORY},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._knows: object = None

    def done(self, function: Callable[[Item], Result], item: Item) -> Result:
        """The result of `function`, which is sent only when it is not the same as last time."""
        try:
            _send(self._requests, (None if function is self._knows else function, item))
            self._knows = function
            result, error, trace = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError) as gone:
            raise WorkerError(
                f"a worker process ended early (exit code {self._process.wait()})",
                hint="the computer may be short of memory: close other programs and run the same command again",
            ) from gone
        if error is not None:
            raise error from (None if isinstance(error, FlareError) else _InWorkerError(trace))
        return result

    def close(self) -> None:
        """End the process; it is busy only if another worker's error ended the work."""
        with suppress(OSError):
            self._requests.close()
        self._answers.close()
        self._process.wait()


class _InWorkerError(Exception):
    """Where in a worker an error arose, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def serve() -> None:
    """What a worker does: answer one request after another until the parent closes the pipe or is gone."""
    requests = sys.stdin.buffer
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function: Callable[[Any], Any] | None = None
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # whatever way the parent went
        while True:
            new, item = pickle.load(requests)
            function = function if new is None else new
            assert function is not None
            try:
                answer = (function(item), None, "")
            except Exception as error:
                answer = (None, error, traceback.format_exc())
            _send(answers, answer)


def _send(stream: IO[bytes], message: object) -> None:
    pickle.dump(message, stream, protocol=5)
    stream.flush()
