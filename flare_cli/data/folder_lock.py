"""One program at a time in a folder: the second one is told who is there.

The lock is the system's, so it ends with its holder, also where that is killed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from flare_cli.data.atomic import write_text_whole
from flare_cli.errors import FolderInUseError

LOCK, HOLDER = ".lock", ".holder"


@contextmanager
def alone_in(folder: Path, *, wait: float = 0) -> Generator[None]:
    """Keep other programs out of `folder`, which is made, during the block.

    Raises `FolderInUseError` naming the one that is in it, if it stays for more than `wait` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    lock = FileLock(folder / LOCK, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        # It may just have come, and not have said who it is.
        who = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
        raise FolderInUseError(
            f"{folder} is in use by {who}", hint="wait until that is done, or choose another folder with -o"
        ) from None
    with lock:
        write_text_whole(
            holder, f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"
        )
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)
            with suppress(PermissionError):  # Windows keeps an open file; elsewhere FileLock notices when it is gone
                (folder / LOCK).unlink(missing_ok=True)
