"""What C libraries write to the terminal past Python: known lines are kept from it, and nothing else."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from threading import RLock

_ONE_AT_A_TIME = RLock()


@contextmanager
def without_lines(start: bytes) -> Generator[None]:
    """Keep from stderr what begins with the regular expression `start`, each to the end of its line.

    All else that any thread writes during the block (progress, errors) follows when it ends. A program that is started
    meanwhile must have a stderr of its own.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as held:
        _flush()
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(stderr, 2)
            held.seek(0)
            with open(stderr, "wb") as terminal:
                terminal.write(re.sub(start + rb"[^\n]*\n?", b"", held.read()))


def _flush() -> None:
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - a program without a terminal has none
        sys.stderr.flush()
