"""Work on all cores, in many small pieces on threads: for work that is done outside Python's lock."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar, final

from flare_cli.parallel.cores import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Generator[Result]:
    """`function` of every item, on `threads` (one for each core); the results come in the order of the items.

    Items are taken a few ahead of the results, so that a long film is never in memory. The first error ends it all.
    """
    count = threads or cores()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item]:
    """`items` in order, up to `depth` of them taken on another thread while the caller is busy."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, iterator, end))
            yield item  # pyright: ignore[reportReturnType] - not `end`


@final
class Beside(Generic[Result]):
    """A function that runs on another thread during a `with` block; it ends with the block, however that ends.

    `function` is given a callback `(done, total)` that it has to call often: it hands on to `progress`, and raises when
    the block has ended.
    """

    def __init__(
        self, function: Callable[[Callable[[int, int], None]], Result], progress: Callable[[int, int], None]
    ) -> None:
        self._progress = progress
        self._ended = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._coming = self._thread.submit(self._run, function)

    def __enter__(self) -> Beside[Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.shutdown()

    def check(self) -> None:
        """Raise the error that ended the function, if one did. The block calls this now and then."""
        if self._coming.done():
            self._coming.result()

    def result(self) -> tuple[Result, float]:
        """Wait for the end; what came out, and the seconds that it took."""
        return self._coming.result()

    def _run(self, function: Callable[[Callable[[int, int], None]], Result]) -> tuple[Result, float]:
        started = time.monotonic()
        return function(self._tell), time.monotonic() - started

    def _tell(self, done: int, total: int) -> None:
        if self._ended.is_set():
            raise CancelledError
        self._progress(done, total)


def one_per_thread(make: Callable[[], Result]) -> Callable[[], Result]:
    """A function that gives each thread its own, made at its first call."""
    of_thread = threading.local()

    def get() -> Result:
        if not hasattr(of_thread, "value"):
            of_thread.value = make()
        return of_thread.value

    return get
