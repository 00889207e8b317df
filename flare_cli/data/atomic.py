"""Files that are whole or not there: an earlier file stays until the new one is complete."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_whole(path: Path, *, keep_suffix: bool = False) -> Generator[Path]:
    """Write to the path that this gives; it becomes `path` when the block ends well, and is removed when it does not.

    Its name is the target's with `.part` at the end, so that no search by suffix finds it; with `keep_suffix` before
    the suffix, for programs that tell the kind of file by it. Folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.part{path.suffix}" if keep_suffix else f"{path.name}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Write bytes."""
    with replace_whole(path) as partial:
        partial.write_bytes(data)


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_bytes_whole(path, text.encode("utf-8"))
