"""First stage: the face in every frame of the video."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from flare_cli.data.video import VideoFrame, VideoReader
from flare_cli.errors import VideoError
from flare_cli.parallel.stream import batches_from_process
from flare_cli.parallel.threads import in_parallel, one_per_thread, read_ahead
from flare_cli.track.face.camera_motion import CameraMotion
from flare_cli.track.face.cuts import CutFinder, face_jumps
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

    Points are NaN and the score 0 where there is no face. `shots` counts the film's shots from 0. `background` is where
    what is behind the person has moved to (`CameraMotion`), NaN where that is not known.
    """

    points: Float[np.ndarray, "N 478 3"]
    scores: Float[np.ndarray, "N"]
    times: Float[np.ndarray, "N"]
    shots: Int[np.ndarray, "N"]
    background: Float[np.ndarray, "N 3"]
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


def find_face(reader: VideoReader, progress: Callable[[int, int], None], *, rank: int = 1) -> FaceLandmarks:
    """Follow one face through the video, in a process of its own: this one may be importing torch at the same time.

    `rank` 1 is the largest and most central face, 2 the next. Raises `VideoError` where there are fewer faces.
    """
    frames: list[_FrameLandmarks] = []
    told = _Told()
    total = reader.expected_frames or 0
    with closing(batches_from_process(partial(_landmarks_and_told, reader, rank), batch=BATCH, ahead=AHEAD)) as batches:
        for batch in batches:
            for item in batch:
                if isinstance(item, _FrameLandmarks):
                    frames.append(item)
                else:
                    told = item
            progress(len(frames), max(total, len(frames)))
    reader.warning = told.warning
    if 0 < told.faces < rank:
        raise VideoError(
            f"{reader.info.path} never shows {rank} faces at once, at most {told.faces}", hint="leave --face out"
        )
    points, times = np.stack([frame.points for frame in frames]), np.array([frame.time for frame in frames])
    gaps = np.diff(times)
    shots = np.cumsum(np.array([frame.cut for frame in frames]) | face_jumps(points, times))
    return FaceLandmarks(
        points=points,
        scores=np.array([frame.score for frame in frames]),
        times=times,
        shots=shots,
        background=np.stack([frame.background for frame in frames]),
        height=reader.info.height,
        width=reader.info.width,
        fps=float(1 / np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else reader.info.fps,
        warning="; ".join(filter(None, (told.warning, _of_faces(told.faces, rank), _of_shots(shots)))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrameLandmarks:
    """The face in one frame."""

    time: float
    score: float
    points: Float[np.ndarray, "478 3"]
    cut: bool
    background: Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is known once all frames are read: what is wrong with the file, and the most faces seen at once."""

    warning: str | None = None
    faces: int = 0


def _of_faces(faces: int, rank: int) -> str:
    if faces < 2:
        return ""
    which = "the largest and most central one" if rank == 1 else f"number {rank}"
    return f"{faces} faces at once: {which} is tracked (--face takes another)"


def _of_shots(shots: Int[np.ndarray, "N"]) -> str:
    if shots.max(initial=0) == 0:
        return ""
    firsts = ", ".join(str(i + 1) for i in np.flatnonzero(np.diff(shots)) + 1)
    return f"{shots.max() + 1} shots, cut at frame {firsts}: in all of them it has to be the same person"


def _landmarks_and_told(reader: VideoReader, rank: int) -> Generator[_FrameLandmarks | _Told]:
    """The face in every frame of a video, and last what there is to say.

    This runs in a worker process: it imports no torch.
    """
    follow = FaceFollower(rank)
    yield from _landmarks(reader, follow)
    yield _Told(warning=reader.warning, faces=follow.most)


def _landmarks(reader: VideoReader, follow: FaceFollower) -> Generator[_FrameLandmarks]:
    """The face in every frame. One thread follows it, while others find the eyes of the frames before."""
    eyes_on_this_thread, is_cut, camera = one_per_thread(EyeFinder), CutFinder(), CameraMotion()

    def followed() -> Generator[tuple[VideoFrame, FaceMesh | None, bool, Float[np.ndarray, "3"]]]:
        for frame in read_ahead(reader):
            cut = is_cut(frame.rgb)
            if cut:
                follow.forget()
                camera.forget()
            face, background = follow(frame.rgb), np.full(3, np.nan)
            if face is not None:
                is_cut.keep()
                background = camera(frame.rgb, face.points, frame.time)
            yield frame, face, cut and face is not None, background

    def complete(item: tuple[VideoFrame, FaceMesh | None, bool, Float[np.ndarray, "3"]]) -> _FrameLandmarks:
        frame, face, cut, background = item
        points, score = np.full((N_POINTS, 3), np.nan, np.float32), 0.0
        if face is not None:
            points, score = eyes_on_this_thread()(frame.rgb, face), face.score
        return _FrameLandmarks(time=frame.time, score=score, points=points, cut=cut, background=background)

    yield from in_parallel(complete, followed(), threads=EYE_THREADS)
