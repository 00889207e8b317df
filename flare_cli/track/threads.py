"""Work on all cores, in many small pieces on threads: for work that is done outside Python's lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Generator[Result]:
    """`work` on every item, on `threads` (one for each core); the results come in the order of the items.

    Items are taken a few ahead of the results, so that a long film is never in memory. The first error ends the work.
    """
    cores = threads or os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * cores:
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


def one_per_thread(make: Callable[[], Result]) -> Callable[[], Result]:
    """A function that gives each thread its own, made at its first call."""
    own = threading.local()

    def get() -> Result:
        if not hasattr(own, "value"):
            own.value = make()
        return own.value

    return get
