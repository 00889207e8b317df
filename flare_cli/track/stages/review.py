"""What the finished stages say about the recording: measures and checks, and the table of all frames."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flare_cli.data.atomic import replace_whole
from flare_cli.data.crop import Crop
from flare_cli.subject.folder import FrameQuality
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.review.recording import Recording, measure_recording
from flare_cli.track.stages.landmarks import FaceLandmarks
from flare_cli.track.stages.track import Tracked

MEASURES = ("yaw", "pitch", "mouth", "eyes", "face_height")  # of `Recording`, before those of pixels


def measure(tracked: Tracked, landmarks: FaceLandmarks, crop: Crop, pixels: Sequence[FramePixels]) -> Recording:
    """The recording in the frames that are kept; `pixels` are theirs."""
    track = tracked.track
    error = {q.number: q.error for q in tracked.quality}
    return measure_recording(
        read=len(landmarks.scores),
        pose=track.pose.numpy(),
        translation=track.translation.numpy(),
        camera_centre=track.camera.centres()[0].numpy(),
        points=landmarks.points[track.frames.numpy() - 1],
        scale=crop.size / crop.side,
        background=landmarks.background[track.frames.numpy() - 1],
        error=np.array([error[number] for number in track.frames.tolist()], np.float64),
        pixels=pixels,
    )


def write_quality(path: Path, quality: Sequence[FrameQuality], numbers: Sequence[int], recording: Recording) -> None:
    """A row for every frame that was read; those in `numbers`, which are kept, have the recording's measures too."""
    columns = {name: getattr(recording, name) for name in MEASURES} | recording.pixels
    place = {number: i for i, number in enumerate(numbers)}
    with replace_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "time_s", "error", "confidence", "excluded", *columns])
        for q in quality:
            kept = q.number in place
            values = [column[place[q.number]] if kept else math.nan for column in columns.values()]
            table.writerow(
                [
                    q.number,
                    f"{q.time:.4f}",
                    "" if q.error is None else f"{q.error:.5f}",
                    f"{q.confidence:.3f}",
                    q.excluded or "",
                    *(f"{value:.5g}" if math.isfinite(value) else "" for value in values),
                ]
            )
