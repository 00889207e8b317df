"""Files that are whole or not there: an earlier file stays until the new one is complete."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_whole(path: Path) -> Generator[Path]:
    """Write to the path that this gives; it becomes `path` when the block ends well, and is removed when it does not.

    Its name is the target's with `.part` at the end, so that no search by suffix finds it. Folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    with replace_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
