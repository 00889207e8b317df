"""Items that come one after another from a process of its own: for work that holds Python's lock and remembers.

The pool in `processes.py` gives every call to whichever worker is idle and expects nothing of it afterwards. Here there
is one worker, which keeps what it iterates over from call to call: a video that it reads, a face that it follows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import islice, repeat, takewhile
from typing import Generic, TypeVar, final

from flare_cli.parallel.processes import Processes
from flare_cli.parallel.threads import read_ahead

Item = TypeVar("Item")


def batches_from_process(
    items: Callable[[], Iterable[Item]], *, batch: int, ahead: int
) -> Generator[list[Item], None, None]:
    """What `items()` iterates over, in lists of `batch` (the last may be shorter), in order.

    It is called in a process of its own and may be up to `ahead` items in advance; `items` and the items must be
    picklable. An error of its own is raised here. Close the generator to end the process.
    """
    source = _Source(items, batch, ahead)
    with Processes(1) as process, closing(process.in_parallel(source, repeat(None))) as batches:
        yield from takewhile(bool, batches)


@final
class _Source(Generic[Item]):
    """The next few items at each call, none after the last. The worker process keeps it from call to call."""

    def __init__(self, items: Callable[[], Iterable[Item]], batch: int, ahead: int) -> None:
        self._items, self._batch, self._ahead = items, batch, ahead
        self._coming: Generator[Item] | None = None

    def __call__(self, _: object) -> list[Item]:
        if self._coming is None:
            self._coming = read_ahead(self._items(), self._ahead)
        return list(islice(self._coming, self._batch))
