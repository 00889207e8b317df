"""Last stage: what lets a person judge the track: an overlay film, a contact sheet and a table."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.data.video import VideoWriter
from flare_cli.head.model import HeadModel
from flare_cli.subject.folder import FrameQuality
from flare_cli.track.crop import Crop
from flare_cli.track.preview import contact_row, overlay_frame
from flare_cli.track.regions import HeadProjector
from flare_cli.track.sightings import Sightings
from flare_cli.track.threads import in_parallel
from flare_cli.track.tracking import Tracked
from flare_cli.track.work import WorkFolder

CONTACT_FRAMES = 6


def write_preview(
    head: HeadModel,
    tracked: Tracked,
    sightings: Sightings,
    crop: Crop,
    work: WorkFolder,
    progress: Callable[[int, int], None],
) -> None:
    """Write `preview/`: overlay.mp4, contact_sheet.png, quality.csv."""
    track, folder = tracked.track, work.folder / "preview"
    folder.mkdir(exist_ok=True)
    project = HeadProjector(head)
    project(track, 0)  # what is compiled or remembered at the first call is there before threads ask for it
    numbers = track.frames.tolist()
    errors = {q.number: q.error or 0.0 for q in tracked.quality}
    chosen = {numbers[k] for k in np.linspace(0, len(numbers) - 1, CONTACT_FRAMES - 1).round().astype(int)}
    chosen.add(max(numbers, key=lambda n: errors[n]))

    def frame(index: int) -> tuple[UInt8[np.ndarray, "H W2 3"], UInt8[np.ndarray, "h w 3"] | None]:
        number = numbers[index]
        rgb, seen = read_rgb(work.picture("image", number)), project(track, index)
        row = None
        if number in chosen:
            labels, mask = read_grey(work.picture("semantic", number)), read_grey(work.picture("mask", number))
            row = contact_row(rgb, seen, labels, mask, f"frame {number}: error {errors[number]:.1%}")
        return overlay_frame(rgb, seen, crop.from_source(sightings.points[number - 1, :, :2])), row

    rows: list[np.ndarray] = []
    with VideoWriter(folder / "overlay.mp4", fps=track.fps) as video:
        for done, (picture, row) in enumerate(in_parallel(frame, range(len(numbers))), 1):
            video.write(picture)
            if row is not None:
                rows.append(row)
            progress(done, len(numbers))
    write_png(folder / "contact_sheet.png", np.concatenate(rows))
    _write_quality(folder / "quality.csv", tracked.quality)


def _write_quality(path: Path, quality: tuple[FrameQuality, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "time_s", "error", "confidence", "excluded"])
        for q in quality:
            error = "" if q.error is None else f"{q.error:.5f}"
            table.writerow([q.number, f"{q.time:.4f}", error, f"{q.confidence:.3f}", q.excluded or ""])
