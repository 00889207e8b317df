"""What exporters share: videos of a subject, cameras in other axes, and counting what a format can't hold."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from flare_cli.errors import SubjectError
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedVideo:
    """The frames of one video: their places in the track, and the one camera that filmed them."""

    name: str
    indices: list[int]
    camera_from_world: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: the folder, how many frames, and what the format could not hold."""

    folder: Path
    frames: int
    notes: tuple[str, ...]


def videos_of(subject: Subject) -> list[ExportedVideo]:
    """The subject's videos in order."""
    track = subject.track
    video = [0] * len(track) if track.video is None else track.video.tolist()
    names = subject.videos or tuple(f"video_{v + 1}" for v in range(len(track.camera)))
    return [
        ExportedVideo(
            name=name,
            indices=[i for i, v in enumerate(video) if v == k],
            camera_from_world=float64(track.camera.camera_from_world[k]),
            intrinsics=float64(track.camera.intrinsics[k]),
        )
        for k, name in enumerate(names)
    ]


def float64(values: Tensor) -> Float[np.ndarray, "..."]:
    """Numbers for a file: every float32 is exact in it."""
    return values.double().cpu().numpy()


def require_flame(track: Track, what: str) -> None:
    """Raise `SubjectError` if the coefficients are not FLAME's."""
    if not track.head.startswith("flame"):
        raise SubjectError(
            f"{what} holds FLAME coefficients, this subject was tracked with {track.head}",
            hint="track it with FLAME: `flare preprocess VIDEO --head flame-2020`",
        )


def shortened(values: Float[np.ndarray, "*batch C"], count: int, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The first `count` coefficients (padded with zeros), and a note if others than zeros were left out."""
    kept = min(count, values.shape[-1])
    shorter = np.zeros((*values.shape[:-1], count))
    shorter[..., :kept] = values[..., :kept]
    lost = np.abs(values[..., count:]).max(initial=0.0)
    note = f"{name}: coefficients beyond the first {count} (up to {lost:.3g}) do not fit and are left out"
    return shorter, (note,) if lost > 0 else ()


def new_folder(folder: Path, subject: Subject) -> None:
    """Make the folder to write to. Raises `SubjectError` if something is in it."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SubjectError(f"{folder} is not empty", hint="choose a new folder with -o")
    if folder.resolve() == subject.folder.resolve():
        raise SubjectError(f"{folder} is the subject itself", hint="choose a new folder with -o")
    folder.mkdir(parents=True, exist_ok=True)


def copy_picture(source: Path, target: Path) -> None:
    """Copy a picture if the subject has it."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
