"""Second stage: the head in every frame with a face, and how well it fits there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from flare_cli.data.crop import Crop
from flare_cli.head.model import HeadModel
from flare_cli.parallel.threads import in_parallel
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import FrameQuality
from flare_cli.subject.track import Track
from flare_cli.track.solve.solver import solve
from flare_cli.track.stages.landmarks import FaceLandmarks
from flare_cli.track.work_folder import WorkFolder

STAGE = "track"
# Frames whose median landmark distance is more than this part of the inter-ocular distance are left out. Chosen by eye:
# the worst frames of two development recordings have 0.024 now that the skin is followed (docs/experiments.md).
MAX_ERROR = 0.08
# Edge of the pictures in which the skin is followed: a face's texels (`face_chart`) are no smaller than its pixels.
GREY_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """The track of the frames worth keeping, and how well each frame of the recording was tracked."""

    track: Track
    quality: tuple[FrameQuality, ...]


def track_head(
    head: HeadModel,
    landmarks: FaceLandmarks,
    crop: Crop,
    work_folder: WorkFolder,
    cropped: Callable[[], object],
    progress: Callable[[int, int], None],
) -> Tracked:
    """Solve for the head in all frames with a face; keep those in which it fits.

    `cropped` returns once the work folder has the frames' pictures, which are wanted late.
    """
    arrays = work_folder.arrays(STAGE)
    if arrays is None:

        def pictures() -> list[UInt8[np.ndarray, "S S"]]:
            cropped()
            return list(in_parallel(partial(_small_grey, work_folder), (landmarks.usable + 1).tolist()))

        arrays = _solved(head, landmarks, crop, pictures, progress)
        work_folder.save_arrays(STAGE, arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    camera = Cameras(
        intrinsics=tensors["intrinsics"],
        camera_from_world=tensors["camera_from_world"],
        height=crop.size,
        width=crop.size,
    )
    track = Track(
        head=head.name,
        frames=torch.from_numpy(landmarks.usable + 1),
        shape=tensors["shape"],
        expression=tensors["expression"],
        pose=tensors["pose"],
        translation=tensors["translation"],
        camera=camera,
        fps=landmarks.fps,
    )
    good = torch.from_numpy(np.flatnonzero(arrays["error"] <= MAX_ERROR))
    return Tracked(track=track[good], quality=_quality(landmarks, arrays["error"]))


def _small_grey(work_folder: WorkFolder, number: int) -> UInt8[np.ndarray, "S S"]:
    grey = cv2.cvtColor(work_folder.passing("crop", number), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (GREY_SIZE, GREY_SIZE), interpolation=cv2.INTER_AREA) if len(grey) > GREY_SIZE else grey


def _solved(
    head: HeadModel,
    landmarks: FaceLandmarks,
    crop: Crop,
    pictures: Callable[[], list[UInt8[np.ndarray, "S S"]]],
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    points = crop.from_source(landmarks.points[landmarks.usable][..., :2].astype(np.float64))
    principal = crop.from_source(np.array([landmarks.width / 2, landmarks.height / 2]))
    solution = solve(
        head,
        torch.from_numpy(points).float(),
        torch.from_numpy(landmarks.times[landmarks.usable]),
        fps=landmarks.fps,
        shots=torch.from_numpy(landmarks.shots[landmarks.usable]),
        size=crop.size,
        principal=(float(principal[0]), float(principal[1])),
        pictures=pictures,
        progress=progress,
    )
    parameters, camera = solution.parameters, solution.camera
    tensors = {
        "shape": parameters.shape,
        "expression": parameters.expression,
        "pose": parameters.pose(),
        "translation": parameters.translation,
        "intrinsics": camera.intrinsics,
        "camera_from_world": camera.camera_from_world,
        "error": solution.error,
    }
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def _quality(landmarks: FaceLandmarks, errors: Float[np.ndarray, "K"]) -> tuple[FrameQuality, ...]:
    error_of = dict(zip(landmarks.usable.tolist(), errors.tolist(), strict=True))
    quality: list[FrameQuality] = []
    for index, (score, moment) in enumerate(zip(landmarks.scores.tolist(), landmarks.times.tolist(), strict=True)):
        error, reason = error_of.get(index), None
        if error is None:
            reason = "no face" if score == 0 else "face too small"
        elif error > MAX_ERROR:
            reason = f"tracked badly: error {error:.1%} of the eye distance"
        confidence = 0.0 if error is None else score * max(0.0, 1 - error / MAX_ERROR)
        quality.append(FrameQuality(number=index + 1, time=moment, error=error, confidence=confidence, excluded=reason))
    return tuple(quality)
