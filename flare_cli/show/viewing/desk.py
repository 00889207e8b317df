"""Work that other threads bring to the one that draws: it is done when that thread has time."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

from flare_cli.errors import FlareError

T = TypeVar("T")


@final
class Desk:
    """Any thread asks, one attends. A fit attends between its steps, so that nobody else touches the GPU."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue()
        self._closed = False

    def ask(self, work: Callable[[], T]) -> T:
        """Have `work` done and wait for its result, or raise what it raises. Raises `FlareError` after the end."""
        done: Future[T] = Future()
        self._waiting.put((done, work))
        if self._closed:
            self._refuse_all()
        return done.result()

    def attend(self, seconds: float) -> None:
        """Do what waits; where nothing does, wait so long for something."""
        until = time.monotonic() + seconds
        while True:
            try:
                done, work = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            try:
                done.set_result(work())
            except Exception as error:  # it belongs to whoever asked
                done.set_exception(error)
            until = min(until, time.monotonic())  # what waits already is done too, but nothing more is waited for

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True
        self._refuse_all()

    def _refuse_all(self) -> None:
        while True:
            try:
                done, _ = self._waiting.get_nowait()
            except queue.Empty:
                return
            done.set_exception(FlareError("the program has ended", hint="start it again"))
