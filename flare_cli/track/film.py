"""Last stage: what lets a person judge the track: an overlay film, a contact sheet and a table."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flare_cli.data.image import write_png
from flare_cli.data.video import VideoWriter
from flare_cli.head.model import HeadModel
from flare_cli.subject.folder import FrameQuality
from flare_cli.track.crop import Crop
from flare_cli.track.drawing import drawn_frames
from flare_cli.track.preview import FilmFrame
from flare_cli.track.processes import Processes
from flare_cli.track.sightings import Sightings
from flare_cli.track.tracking import Tracked
from flare_cli.track.work import WorkFolder

CONTACT_FRAMES = 6


def write_preview(
    head: HeadModel,
    tracked: Tracked,
    sightings: Sightings,
    crop: Crop,
    work: WorkFolder,
    processes: Processes,
    progress: Callable[[int, int], None],
) -> None:
    """Write `preview/`: overlay.mp4, contact_sheet.png, quality.csv."""
    track, folder = tracked.track, work.folder / "preview"
    folder.mkdir(exist_ok=True)
    numbers = track.frames.tolist()
    errors = {q.number: q.error or 0.0 for q in tracked.quality}
    chosen = {numbers[k] for k in np.linspace(0, len(numbers) - 1, CONTACT_FRAMES - 1).round().astype(int)}
    chosen.add(max(numbers, key=lambda n: errors[n]))
    compose = FilmFrame(work=work, captions={n: f"frame {n}: error {errors[n]:.1%}" for n in chosen})
    rows: list[np.ndarray] = []
    with VideoWriter(folder / "overlay.mp4", fps=track.fps) as video:
        frames = processes.in_parallel(compose, drawn_frames(head, track, sightings, crop))
        for done, (picture, row) in enumerate(frames, 1):
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
