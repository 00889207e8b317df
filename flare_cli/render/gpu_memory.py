"""A GPU whose memory runs out: one message and a hint instead of a traceback."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from flare_cli.errors import OutOfMemoryError

# How torch, CUDA's libraries and Warp say it, in whatever type of error.
SIGNS = re.compile(r"out of memory|_ALLOC_FAILED|Failed to allocate \d+ bytes on device 'cuda", re.IGNORECASE)
DRAW_SMALLER = "close other programs that use the GPU, draw smaller pictures with --size, or use --device cpu"


@contextmanager
def gpu_memory(hint: str) -> Generator[None]:
    """Turn a lack of GPU memory within the block (or the decorated function) into `OutOfMemoryError` with `hint`."""
    try:
        yield
    except RuntimeError as error:
        reason = _memory_error(error)
        if reason is None:
            raise
        requested = re.search(r"Tried to allocate ([\d.]+ \w+)", reason)
        how_much = f": {requested[1]} more were needed" if requested else ""
        raise OutOfMemoryError(f"the GPU ran out of memory{how_much}", hint=hint) from error


def _memory_error(error: BaseException | None) -> str | None:
    """The message that says so, of the error or of what led to it: a broken capture hides its cause."""
    while error is not None:
        if SIGNS.search(str(error)):
            return str(error)
        error = error.__cause__ or error.__context__
    return None
