"""Files that are whole or not there: an earlier file stays until the new one is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flare_cli.errors import file_error


@contextmanager
def named(path: Path) -> Generator[None]:
    """What the system refuses within the block, as a `FileError` about `path`: a full disk does not say which file."""
    try:
        yield
    except OSError as error:
        told = file_error(error, path)
        if told is None:
            raise
        raise told from error


@contextmanager
def replace_whole(path: Path, *, keep_suffix: bool = False) -> Generator[Path]:
    """Write to the path that this gives; it becomes `path` when the block ends well, and is removed when it does not.

    Its name is the target's with `.part` at the end, so that no search by suffix finds it; with `keep_suffix` before
    the suffix, for programs that tell the kind of file by it. Folders are made. Raises `FileError`.
    """
    partial = path.with_name(f"{path.stem}.part{path.suffix}" if keep_suffix else f"{path.name}.part")
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def scratch_beside(path: Path) -> Generator[Path]:
    """An empty hidden folder beside `path`, for what is moved from there when all of it is done; removed at the end.

    A command that was killed leaves it, and the next one takes it away: its name stays the same. Raises `FileError`.
    """
    scratch = path.with_name(f".{path.name}.part")
    with named(path):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def write_bytes_whole(path: Path, data: bytes) -> None:
    """Write bytes."""
    with replace_whole(path) as partial:
        partial.write_bytes(data)


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    write_bytes_whole(path, text.encode("utf-8"))
