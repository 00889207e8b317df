"""Where pictures go: an mp4 if the name says so, else a folder of PNGs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, final

import numpy as np
from jaxtyping import UInt8

from flare_cli.data.image import write_png
from flare_cli.data.video import VideoWriter
from flare_cli.errors import FlareError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")


class PictureOutput(Protocol):
    """Takes pictures of one size in order."""

    count: int

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add one sRGB picture."""
        ...


@final
class _Folder:
    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        self.count += 1
        write_png(self.folder / f"{self.count:05d}.png", picture)


@final
class _Video:
    def __init__(self, writer: VideoWriter) -> None:
        self.writer, self.count = writer, 0

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        self.count += 1
        self.writer.write(picture)


@contextmanager
def open_output(path: Path, fps: float) -> Generator[PictureOutput]:
    """Open a video file (by suffix) or a folder for numbered PNGs. Raises `FlareError` for other suffixes."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        with VideoWriter(path, fps=fps) as writer:
            yield _Video(writer)
    elif path.suffix:
        raise FlareError(
            f"{path}: {path.suffix} is not a kind of output",
            hint="end in .mp4 for a video, or name a folder (without a suffix) for PNG pictures",
        )
    else:
        path.mkdir(parents=True, exist_ok=True)
        yield _Folder(path)
