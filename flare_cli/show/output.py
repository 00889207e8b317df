"""Where pictures go: an mp4 if the name says so, else a folder of PNGs; written while the next ones are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.data.image import write_png
from flare_cli.data.video import VIDEO_SUFFIXES, VideoWriter, open_video
from flare_cli.errors import FlareError
from flare_cli.show.track_pictures import srgb_bytes

AHEAD = 2  # batches that may wait to be written: they hold memory

_Write: TypeAlias = Callable[[UInt8[np.ndarray, "B H W 3"]], None]


@final
class PictureOutput:
    """Takes batches of pictures in order. Another thread fetches them from the device and writes them.

    `add` waits while `AHEAD` batches are not written yet, and raises what went wrong with an earlier one.
    """

    def __init__(self, write: _Write) -> None:
        self.count = 0
        self._write = write
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def add(self, colour: Float[Tensor, "B H W 3"]) -> None:
        """Add pictures of linear radiance."""
        pictures, drawn = srgb_bytes(colour), None
        if pictures.is_cuda:
            drawn = torch.cuda.Event()
            drawn.record(torch.cuda.current_stream(pictures.device))
        self._waiting.append(self._thread.submit(self._fetch_and_write, pictures, drawn))
        self.count += len(pictures)
        self._settle(AHEAD)

    def finish(self) -> None:
        """Wait until all is written."""
        self._settle(0)

    def close(self) -> None:
        """Leave out what is not written yet."""
        self._thread.shutdown(cancel_futures=True)

    def _settle(self, leave: int) -> None:
        while len(self._waiting) > leave:
            self._waiting.popleft().result()

    def _fetch_and_write(self, pictures: UInt8[Tensor, "B H W 3"], drawn: torch.cuda.Event | None) -> None:
        if drawn is None:
            self._write(pictures.numpy())
            return
        # On a stream of its own, the copy does not stand in line behind the batches drawn meanwhile.
        with torch.cuda.stream(torch.cuda.Stream(pictures.device)):
            torch.cuda.current_stream(pictures.device).wait_event(drawn)
            host = torch.empty(pictures.shape, dtype=torch.uint8, pin_memory=True)
            host.copy_(pictures, non_blocking=True)
            torch.cuda.current_stream(pictures.device).synchronize()
        self._write(host.numpy())


@contextmanager
def open_output(path: Path, fps: float) -> Generator[PictureOutput]:
    """Open a video file (by suffix) or a folder for numbered PNGs. Raises `FlareError` for other suffixes."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        with open_video(path, fps=fps) as writer, _written_beside(lambda pictures: _add(writer, pictures)) as output:
            yield output
    elif path.suffix:
        raise FlareError(
            f"{path}: {path.suffix} is not a kind of output",
            hint="end in .mp4 for a video, or name a folder (without a suffix) for PNG pictures",
        )
    else:
        path.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool, _written_beside(_Folder(path, pool)) as output:
            yield output


@contextmanager
def _written_beside(write: _Write) -> Generator[PictureOutput]:
    output = PictureOutput(write)
    try:
        yield output
        output.finish()
    finally:
        output.close()


def _add(writer: VideoWriter, pictures: UInt8[np.ndarray, "B H W 3"]) -> None:
    for picture in pictures:
        writer.write(picture)


@final
class _Folder:
    """Writes batches as numbered PNGs, each picture of a batch on a thread: compression takes longer than drawing."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder, self._pool, self._count = folder, pool, 0

    def __call__(self, pictures: UInt8[np.ndarray, "B H W 3"]) -> None:
        numbers = range(self._count + 1, self._count + len(pictures) + 1)
        self._count += len(pictures)
        list(self._pool.map(write_png, [self._folder / f"{number:05d}.png" for number in numbers], pictures))
