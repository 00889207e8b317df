"""First stage: the face in every frame of the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from flare_cli.data.video import VideoFrame, VideoReader
from flare_cli.track.landmarks import LEFT_EYE_OUTER, N_POINTS, RIGHT_EYE_OUTER, EyeFinder, FaceFollower, FaceMesh
from flare_cli.track.threads import in_parallel, one_per_thread, read_ahead
from flare_cli.track.work import WorkFolder

STAGE = "landmarks"
MIN_EYE_DISTANCE = 16.0
# Finding a frame's eyes takes about as long as finding its face: two threads never keep the face waiting.
EYE_THREADS = 2


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
    follow, eyes_on_this_thread = FaceFollower(), one_per_thread(EyeFinder)

    def complete(item: tuple[VideoFrame, FaceMesh | None]) -> tuple[float, float, Float[np.ndarray, "478 3"]]:
        frame, face = item
        if face is None:
            return frame.time, 0.0, np.full((N_POINTS, 3), np.nan, np.float32)
        return frame.time, face.score, eyes_on_this_thread()(frame.rgb, face)

    # This thread follows the face while others find the eyes of the frames before.
    followed = ((frame, follow(frame.rgb)) for frame in read_ahead(reader))
    found: list[tuple[float, float, np.ndarray]] = []
    total = reader.expected_frames or 0
    for landmarks in in_parallel(complete, followed, threads=EYE_THREADS):
        found.append(landmarks)
        progress(len(found), max(total, len(found)))
    times, scores, points = zip(*found, strict=True)
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
