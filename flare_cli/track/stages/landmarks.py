"""First stage: the face in every frame of the video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from flare_cli.data.video import VideoFrame, VideoReader
from flare_cli.parallel.stream import batches_from_process
from flare_cli.parallel.threads import in_parallel, one_per_thread, read_ahead
from flare_cli.track.face.landmarks import LEFT_EYE_OUTER, N_POINTS, RIGHT_EYE_OUTER, EyeFinder, FaceFollower, FaceMesh
from flare_cli.track.work_folder import WorkFolder

STAGE = "landmarks"
# Pixels between the eyes' outer corners below which a face is too small to be tracked. Chosen by eye.
MIN_EYE_DISTANCE = 16.0
# Finding a frame's eyes takes about as long as finding its face: two threads never keep the face waiting.
EYE_THREADS = 2
# Frames in an answer of the process, and how many it may be ahead of the answers.
BATCH, AHEAD = 8, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLandmarks:
    """The recording's landmarks: the face in every frame that was read, in source pixels.

    Points are NaN and the score 0 where there is no face.
    """

    points: Float[np.ndarray, "N 478 3"]
    scores: Float[np.ndarray, "N"]
    times: Float[np.ndarray, "N"]
    height: int
    width: int
    fps: float
    warning: str

    @property
    def usable(self) -> Int[np.ndarray, "K"]:
        """Indices of the frames with a face that is large enough."""
        eyes = np.linalg.norm(self.points[:, LEFT_EYE_OUTER, :2] - self.points[:, RIGHT_EYE_OUTER, :2], axis=-1)
        return np.flatnonzero((self.scores > 0) & (np.nan_to_num(eyes) >= MIN_EYE_DISTANCE))

    @staticmethod
    def load(work_folder: WorkFolder) -> FaceLandmarks | None:
        """What an earlier run found, if it came so far."""
        arrays = work_folder.arrays(STAGE)
        if arrays is None:
            return None
        scalars = {name: arrays.pop(name).item() for name in ("height", "width", "fps", "warning")}
        return FaceLandmarks(**arrays, **scalars)

    def save(self, work_folder: WorkFolder) -> None:
        """Save for a later run."""
        work_folder.save_arrays(STAGE, {name: getattr(self, name) for name in FaceLandmarks.__slots__})


def find_face(reader: VideoReader, progress: Callable[[int, int], None]) -> FaceLandmarks:
    """Follow one face through the video, in a process of its own: this one may be importing torch at the same time."""
    frames: list[_FrameLandmarks] = []
    total = reader.expected_frames or 0
    with closing(batches_from_process(partial(_landmarks_and_warning, reader), batch=BATCH, ahead=AHEAD)) as batches:
        for batch in batches:
            for item in batch:
                if isinstance(item, _FrameLandmarks):
                    frames.append(item)
                else:
                    reader.warning = item
            progress(len(frames), max(total, len(frames)))
    times = [frame.time for frame in frames]
    gaps = np.diff(times)
    return FaceLandmarks(
        points=np.stack([frame.points for frame in frames]),
        scores=np.array([frame.score for frame in frames]),
        times=np.array(times),
        height=reader.info.height,
        width=reader.info.width,
        fps=float(1 / np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else reader.info.fps,
        warning=reader.warning or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrameLandmarks:
    """The face in one frame."""

    time: float
    score: float
    points: Float[np.ndarray, "478 3"]


def _landmarks_and_warning(reader: VideoReader) -> Generator[_FrameLandmarks | str | None]:
    """The face in every frame of a video, and last what is wrong with the file, if anything.

    This runs in a worker process: it imports no torch.
    """
    yield from _landmarks(reader)
    yield reader.warning


def _landmarks(reader: VideoReader) -> Generator[_FrameLandmarks]:
    """The face in every frame. One thread follows it, while others find the eyes of the frames before."""
    follow, eyes_on_this_thread = FaceFollower(), one_per_thread(EyeFinder)

    def complete(item: tuple[VideoFrame, FaceMesh | None]) -> _FrameLandmarks:
        frame, face = item
        if face is None:
            return _FrameLandmarks(time=frame.time, score=0.0, points=np.full((N_POINTS, 3), np.nan, np.float32))
        return _FrameLandmarks(time=frame.time, score=face.score, points=eyes_on_this_thread()(frame.rgb, face))

    followed = ((frame, follow(frame.rgb)) for frame in read_ahead(reader))
    yield from in_parallel(complete, followed, threads=EYE_THREADS)
