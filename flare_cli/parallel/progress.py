"""How an app says how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

# (stage, done, total); called from one thread at a time, as often as the stage likes.
ProgressCallback: TypeAlias = Callable[[str, int, int], None]


def quiet(stage: str, done: int, total: int) -> None:
    """A callback for nobody."""


def one_at_a_time(progress: ProgressCallback) -> ProgressCallback:
    """`progress` for stages that run side by side."""
    lock = threading.Lock()

    def report(stage: str, done: int, total: int) -> None:
        with lock:
            progress(stage, done, total)

    return report
