"""Where pictures go: a video if the name says so, else a folder of PNGs; written while the next ones are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.data.image import read_rgb, write_png
from flare_cli.data.video import ALPHA_SUFFIXES, VIDEO_SUFFIXES, Sound, VideoWriter, open_video
from flare_cli.errors import FlareError
from flare_cli.render.colour import srgb_from_linear
from flare_cli.show.filming.backgrounds import scaled
from flare_cli.show.track_pictures import srgb_bytes

AHEAD = 2  # batches that may wait to be written: they hold memory

Write: TypeAlias = Callable[[UInt8[np.ndarray, "B H W C"]], None]


@final
class PictureOutput:
    """Takes batches of pictures in order. Another thread fetches them from the device and writes them.

    `add` waits while `AHEAD` batches are not written yet, and raises what went wrong with an earlier one.
    """

    def __init__(self, write: Write) -> None:
        self.count = 0
        self._write = write
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def add(self, image: Float[Tensor, "B H W C"]) -> None:
        """Add pictures of linear radiance, or of premultiplied radiance and coverage: those are written with alpha."""
        pictures, drawn = srgb_bytes(image) if image.shape[-1] == 3 else straight_alpha_bytes(image), None
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

    def _fetch_and_write(self, pictures: UInt8[Tensor, "B H W C"], drawn: torch.cuda.Event | None) -> None:
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
def open_output(
    path: Path, fps: float, *, sound: Sound | None = None, through: Callable[[Write], Write] | None = None
) -> Generator[PictureOutput]:
    """Open a video file (by suffix) or a folder for numbered PNGs. Raises `FlareError` for other suffixes.

    Pictures go `through` what it makes of the writer, on the writer's thread.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        with open_video(path, fps=fps, sound=sound) as writer:
            yield from _written_beside(partial(_add, writer), through)
    elif path.suffix:
        raise FlareError(
            f"{path}: {path.suffix} is not a kind of output",
            hint="end in .mp4 for a video, or name a folder (without a suffix) for PNG pictures",
        )
    else:
        path.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            yield from _written_beside(_Folder(path, pool), through)


def check_alpha(path: Path) -> None:
    """Raise `FlareError` where pictures with alpha can't go to `path`."""
    if path.suffix.lower() in VIDEO_SUFFIXES and path.suffix.lower() not in ALPHA_SUFFIXES:
        raise FlareError(
            f"{path}: {path.suffix} has no transparency",
            hint="end in .mov (ProRes 4444) or .webm (VP9), or name a folder for PNG pictures",
        )


def _written_beside(write: Write, through: Callable[[Write], Write] | None) -> Generator[PictureOutput]:
    output = PictureOutput(write if through is None else through(write))
    try:
        yield output
        output.finish()
    finally:
        output.close()


def _add(writer: VideoWriter, pictures: UInt8[np.ndarray, "B H W C"]) -> None:
    for picture in pictures:
        writer.write(picture)


@final
class _Folder:
    """Writes batches as numbered PNGs, each picture of a batch on a thread: compression takes longer than drawing."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder, self._pool, self._count = folder, pool, 0

    def __call__(self, pictures: UInt8[np.ndarray, "B H W C"]) -> None:
        numbers = range(self._count + 1, self._count + len(pictures) + 1)
        self._count += len(pictures)
        list(self._pool.map(write_png, [self._folder / f"{number:05d}.png" for number in numbers], pictures))


def straight_alpha_bytes(image: Float[Tensor, "*batch 4"]) -> UInt8[Tensor, "*batch 4"]:
    """Premultiplied linear radiance and coverage as 8-bit sRGB with straight alpha, on the same device."""
    colour, alpha = image.split([3, 1], -1)
    straight = srgb_from_linear(colour / alpha.clamp(min=1e-6))
    return (torch.cat([straight, alpha], -1).clamp(0, 1) * 255 + 0.5).byte()


@final
class BesideRecording:
    """Puts what was recorded in each frame to the left of it, as high."""

    def __init__(self, write: Write, pictures: tuple[Path, ...]) -> None:
        self._write, self._pictures, self._count = write, pictures, 0

    def __call__(self, drawn: UInt8[np.ndarray, "B H W C"]) -> None:
        """Write the next frames."""
        paths = self._pictures[self._count : self._count + len(drawn)]
        self._count += len(drawn)
        self._write(np.stack([_side_by_side(read_rgb(path), one) for path, one in zip(paths, drawn, strict=True)]))


@final
class Keeper:
    """Keeps copies of the frames numbered `wanted` (from 0) as they pass on their way to be written."""

    def __init__(self, write: Write, wanted: frozenset[int]) -> None:
        self.kept: list[UInt8[np.ndarray, "H W C"]] = []
        self._write, self._wanted, self._count = write, wanted, 0

    def __call__(self, drawn: UInt8[np.ndarray, "B H W C"]) -> None:
        """Write the next frames."""
        self.kept += [one.copy() for i, one in enumerate(drawn, self._count) if i in self._wanted]
        self._count += len(drawn)
        self._write(drawn)


def _side_by_side(
    recorded: UInt8[np.ndarray, "h w 3"], drawn: UInt8[np.ndarray, "H W C"]
) -> UInt8[np.ndarray, "H W2 C"]:
    height, width = recorded.shape[:2]
    left = scaled(recorded, (round(width * len(drawn) / height), len(drawn)))
    if drawn.shape[2] == 4:
        left = np.dstack([left, np.full(left.shape[:2], 255, np.uint8)])
    return np.hstack([left, drawn])
