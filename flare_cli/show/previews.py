"""Pictures of a fit while it goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import final

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.image import write_png
from flare_cli.fit.frames import Frames
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.track_pictures import comparison_sheet
from flare_cli.subject.track import Track

SHEET_FRAMES = 4


@final
class Previews:
    """Sheets of a few frames. The fit goes on while one is compressed; leaving the block waits for all of them."""

    def __init__(self, folder: Path, frames: Frames, device: torch.device, rasterizer: Rasterizer) -> None:
        self._folder, self._rasterizer = folder, rasterizer
        self._chosen = torch.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).long()
        self._shown = frames[self._chosen].to(device)
        self._pool = ThreadPoolExecutor(1)
        self._written: list[Future[None]] = []

    def __enter__(self) -> Previews:
        return self

    def draw(self, avatar: Avatar, track: Track, name: str) -> Path:
        """Draw a sheet, by the track of all frames as it is now; where its file will be."""
        path = self._folder / f"{name}.png"
        shown = replace(self._shown, track=track[self._chosen].to(avatar.device))
        self._written.append(self._pool.submit(write_png, path, comparison_sheet(avatar, shown, self._rasterizer)))
        return path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if kind is None:
            for written in self._written:
                written.result()  # a full disk must not pass unnoticed
