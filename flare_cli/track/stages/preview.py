"""What lets a person judge the track: an overlay film and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from flare_cli.data.image import write_png
from flare_cli.data.video import open_video
from flare_cli.track.label.overlay import PreviewFrame
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.stages.track import Tracked

CONTACT_FRAMES = 6


def contact_captions(tracked: Tracked) -> dict[int, str]:
    """The frames of the contact sheet and what is written on them: some spread over the track, and its worst."""
    numbers = tracked.track.frames.tolist()
    errors = {q.number: q.error or 0.0 for q in tracked.quality}
    chosen = {numbers[k] for k in np.linspace(0, len(numbers) - 1, CONTACT_FRAMES - 1).round().astype(int)}
    chosen.add(max(numbers, key=lambda n: errors[n]))
    return {n: f"frame {n}: error {errors[n]:.1%}" for n in chosen}


def write_preview(
    folder: Path, tracked: Tracked, frames: Iterable[PreviewFrame], progress: Callable[[int, int], None]
) -> list[FramePixels]:
    """Write overlay.mp4 and contact_sheet.png as the frames of the track come in; what their pixels measure."""
    folder.mkdir(exist_ok=True)
    rows: list[np.ndarray] = []
    pixels: list[FramePixels] = []
    # A third less work than at the writer's own settings for a film of the same size, 0.5 dB further from its frames.
    with open_video(folder / "overlay.mp4", fps=tracked.track.fps, crf=23, preset="superfast") as video:
        for done, frame in enumerate(frames, 1):
            video.write(frame.overlay)
            pixels.append(frame.pixels)
            if frame.row is not None:
                rows.append(frame.row)
            progress(done, len(tracked.track))
    write_png(folder / "contact_sheet.png", np.concatenate(rows))
    return pixels
