"""First stage: the face in every frame of the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from flare_cli.data.video import VideoReader
from flare_cli.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceFollower
from flare_cli.track.threads import read_ahead
from flare_cli.track.work import WorkFolder

STAGE = "landmarks"
MIN_EYE_DISTANCE = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """The face in every frame that was read. Points are NaN and the score 0 where there is none."""

    points: Float[np.ndarray, "N 478 3"]
    scores: Float[np.ndarray, "N"]
    times: Float[np.ndarray, "N"]
    height: int
    width: int
    fps: float
    warning: str

    @property
    def seen(self) -> Int[np.ndarray, "K"]:
        """Indices of the frames with a face that is large enough."""
        eyes = np.linalg.norm(self.points[:, LEFT_EYE_OUTER, :2] - self.points[:, RIGHT_EYE_OUTER, :2], axis=-1)
        return np.flatnonzero((self.scores > 0) & (np.nan_to_num(eyes) >= MIN_EYE_DISTANCE))


def find_face(reader: VideoReader, work: WorkFolder, progress: Callable[[int, int], None]) -> Sightings:
    """Follow one face through the video."""
    arrays = work.arrays(STAGE)
    if arrays is not None:
        scalars = {name: arrays.pop(name).item() for name in ("height", "width", "fps", "warning")}
        return Sightings(**arrays, **scalars)
    follow = FaceFollower()
    points: list[np.ndarray] = []
    scores: list[float] = []
    times: list[float] = []
    total = reader.expected_frames or 0
    for frame in read_ahead(reader):
        found = follow(frame.rgb)
        points.append(np.full((478, 3), np.nan, np.float32) if found is None else found.points)
        scores.append(0.0 if found is None else found.score)
        times.append(frame.time)
        progress(len(points), max(total, len(points)))
    gaps = np.diff(times)
    sightings = Sightings(
        points=np.stack(points),
        scores=np.array(scores),
        times=np.array(times),
        height=reader.info.height,
        width=reader.info.width,
        fps=float(1 / np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else reader.info.fps,
        warning=reader.warning or "",
    )
    work.save_arrays(STAGE, {name: getattr(sightings, name) for name in Sightings.__slots__})
    return sightings
