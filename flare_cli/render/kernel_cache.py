"""Where Warp keeps compiled kernels: its own choice, or a temporary folder where that can't be written."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import platformdirs

from flare_cli.errors import BackendError


def other_cache() -> Path | None:
    """A folder of this user's that can be written, or None where Warp's own choice can be.

    Warp takes `WARP_CACHE_PATH`, or the platform's place for a user's caches. Containers and batch systems often have a
    home that can't be written. Raises `BackendError` if the temporary folder is no use either.
    """
    chosen = os.environ.get("WARP_CACHE_PATH") or platformdirs.user_cache_dir("warp", "NVIDIA")
    if _writable(Path(chosen)):
        return None
    folder = Path(tempfile.gettempdir()) / f"flare-warp-{_user()}"
    if not (_writable(folder) and _private(folder)):
        raise BackendError(
            f"there is no place for compiled kernels: neither {chosen} nor {folder} can be written by this user alone",
            hint="set WARP_CACHE_PATH to a folder that can be written",
        )
    return folder


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    """Whether nobody else could have put kernels there: they are run as they are found."""
    if sys.platform == "win32":
        return True  # there, each user has their own temporary folder
    about = folder.lstat()
    return about.st_uid == os.getuid() and about.st_mode & 0o777 == 0o700


def _user() -> str:
    return "" if sys.platform == "win32" else str(os.getuid())
