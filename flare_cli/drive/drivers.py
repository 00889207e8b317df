"""Whatever drives an avatar - subject, capture, named arrays, video, preset - as motion of the avatar's own head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.config.tables import shown
from flare_cli.data.array_file import read_npz
from flare_cli.data.checked import numbers
from flare_cli.data.video import VIDEO_SUFFIXES
from flare_cli.drive.arkit_files import MAX_FPS, MAX_FRAMES, Capture, read_live_link, read_mediapipe
from flare_cli.drive.presets import PRESETS, preset
from flare_cli.errors import FlareError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.conversion import convert_expressions
from flare_cli.head.joints import Joint
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.parallel.progress import ProgressCallback, one_at_a_time, quiet
from flare_cli.subject.folder import Subject, load_subject, load_track
from flare_cli.track.pipeline import make_subject
from flare_cli.track.request import PreprocessRequest

DEFAULT_FPS = 25.0
CACHE = ".flare-drivers"
"""Beside what is made of them: subjects of driving videos."""
HINT = f"use a subject folder, a .csv, .json or .npz, a video, or one of {', '.join(PRESETS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neutral:
    """What counts as rest in a driver's numbers."""

    expression: Float[Tensor, "E"]
    pose: Float[Tensor, "J 3"]
    translation: Float[Tensor, "3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Motion in the parameters of one head, and the neutral that it is relative to. `notes` say what was converted.

    `subject` shows the motion in pictures, and `video` is what it was made of; None where there is none.
    """

    expression: Float[Tensor, "N E"]
    pose: Float[Tensor, "N J 3"]
    translation: Float[Tensor, "N 3"]
    fps: float
    neutral: Neutral
    notes: tuple[str, ...] = ()
    subject: Subject | None = None
    video: Path | None = None

    def __len__(self) -> int:
        return self.expression.shape[0]


def load_driver(source: Path, head: HeadModel, *, cache: Path, progress: ProgressCallback = quiet) -> Driver:
    """The driver at `source`, or the preset of that name, in `head`'s parameters.

    A raw video is preprocessed into a folder under `cache`, where a later call finds it. Raises `FlareError`.
    """
    if str(source) in PRESETS and not source.exists():
        return _of_capture(preset(str(source)), head)
    if source.is_dir():
        return _of_subject(source, head)
    if not source.is_file():
        raise FlareError(f"there is no driver {source}", hint=HINT)
    suffix = source.suffix.lower()
    if suffix == ".csv":
        return _of_capture(read_live_link(source), head)
    if suffix == ".json":
        return _of_capture(read_mediapipe(source), head)
    if suffix == ".npz":
        return _of_arrays(source, head)
    if suffix in (*VIDEO_SUFFIXES, ".avi", ".m4v"):
        return replace(_of_subject(_preprocessed(source, cache, progress), head), video=source)
    raise FlareError(f"{source}: {source.suffix or 'a file without suffix'} is not a kind of driver", hint=HINT)


def _of_subject(folder: Path, head: HeadModel) -> Driver:
    # A refined track is a folder without pictures.
    subject = load_subject(folder) if (folder / "image").is_dir() else None
    track = load_track(folder) if subject is None else subject.track
    source = head if track.head == head.name else load_head(track.head)
    track.of_head(source)
    driver = replace(_with_medians(track.expression, track.pose, track.translation, track.fps), subject=subject)
    return driver if source is head else _converted(driver, source, head)


def _of_capture(capture: Capture, head: HeadModel) -> Driver:
    """ARKit weights have a true zero, which is the neutral; the head's neutral turn is the median of the capture."""
    weights = torch.from_numpy(capture.weights).float().clamp(0, 1)
    pose = torch.einsum("bk,kjc->bjc", weights, head.arkit.pose)
    pose[:, Joint.ROOT] = torch.from_numpy(Rotation.from_euler("xyz", capture.head).as_rotvec()).float()
    rest = Neutral(
        expression=torch.zeros(head.n_expression), pose=torch.zeros_like(pose[0]), translation=torch.zeros(3)
    )
    return Driver(
        expression=weights @ head.arkit.expression,
        pose=pose,
        translation=torch.zeros(len(weights), 3),
        fps=capture.fps,
        neutral=rest,
        notes=capture.notes,
    )


def _of_arrays(path: Path, head: HeadModel) -> Driver:
    """Named arrays; what is missing rests. `head` names the head of `expression`, the avatar's own by default."""
    arrays = read_npz(path, error=FlareError, hint=HINT)
    known = ("expression", "pose", "translation", "arkit", "fps", "head")
    unknown = set(arrays) - set(known)
    if unknown or not {"expression", "pose", "translation", "arkit"} & set(arrays):
        raise FlareError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}", hint=f"name the arrays {', '.join(known)}"
        )
    if "expression" in arrays and "arkit" in arrays:
        raise FlareError(f"{path} holds both expression and arkit", hint="keep one of them")
    name = str(arrays["head"]) if "head" in arrays else head.name
    source = head if name == head.name else load_head(name)
    N = max(len(np.atleast_1d(arrays[k])) for k in ("expression", "pose", "translation", "arkit") if k in arrays)
    if not 1 <= N <= MAX_FRAMES:
        raise FlareError(f"{path} has {N} frames", hint=f"give 1 to {MAX_FRAMES}")
    J = len(head.parents)
    fps = _frame_rate(path, arrays)
    translation = _array(path, arrays, "translation", (N, 3))
    pose = _array(path, arrays, "pose", (N, J, 3))
    if "arkit" in arrays:
        weights = torch.from_numpy(_array(path, arrays, "arkit", (N, len(ARKIT_NAMES)))).clamp(0, 1)
        driver = _of_capture(Capture(weights=weights.numpy(), head=np.zeros((N, 3)), fps=fps), head)
        return replace(driver, pose=driver.pose + torch.from_numpy(pose), translation=torch.from_numpy(translation))
    expression = _array(path, arrays, "expression", (N, source.n_expression))
    driver = _with_medians(torch.from_numpy(expression), torch.from_numpy(pose), torch.from_numpy(translation), fps)
    return driver if source is head else _converted(driver, source, head)


def _array(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    if name not in arrays:
        return np.zeros(shape, np.float32)
    array = np.atleast_1d(arrays[name])
    if array.size != int(np.prod(shape)) or len(array) != shape[0] or array.dtype.kind not in "iuf":
        wanted = " x ".join(map(str, shape))
        raise FlareError(f"{path}: {name} has the shape {array.shape}, expected {wanted} numbers", hint=HINT)
    hint = "remove the frames that were not tracked"
    return numbers(array.reshape(shape), shape, path, name, hint=hint).astype(np.float32)


def _frame_rate(path: Path, arrays: dict[str, np.ndarray]) -> float:
    rate = np.ravel(arrays.get("fps", DEFAULT_FPS))
    if rate.shape != (1,) or rate.dtype.kind not in "iuf" or not 0 < rate[0] < MAX_FPS:
        raise FlareError(f"{path}: fps is {shown(rate.tolist())}", hint="a number of frames per second")
    return float(rate[0])


def _with_medians(
    expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"], translation: Float[Tensor, "N 3"], fps: float
) -> Driver:
    """A tracked person's neutral is the median of the recording; jaw and eyes have a true zero."""
    rest = torch.zeros_like(pose[0])
    turned = [Joint.ROOT, Joint.NECK]
    rest[turned] = pose[:, turned].median(0).values
    neutral = Neutral(expression=expression.median(0).values, pose=rest, translation=translation.median(0).values)
    return Driver(expression=expression, pose=pose, translation=translation, fps=fps, neutral=neutral)


def _converted(driver: Driver, source: HeadModel, head: HeadModel) -> Driver:
    """The driver in another head's coefficients; its neutral expression is converted with it, as one more frame."""
    rest = driver.neutral
    converted = convert_expressions(
        source,
        head,
        expression=torch.cat([driver.expression, rest.expression[None]]),
        pose=torch.cat([driver.pose, torch.zeros_like(driver.pose[:1])]),
    )
    note = (
        f"expressions converted from {source.name} to {head.name}: {1000 * converted.residual:.2f} mm of"
        f" {1000 * converted.motion:.2f} mm motion (root mean square) could not be made"
    )
    return replace(
        driver,
        expression=converted.expression[:-1],
        neutral=replace(rest, expression=converted.expression[-1]),
        notes=(*driver.notes, note),
    )


def _preprocessed(video: Path, cache: Path, progress: ProgressCallback) -> Path:
    """The subject of a driving video. Its folder's name depends on the file, so that another video gets another."""
    state = video.stat()
    digest = hashlib.sha256(f"{video.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = cache / f"{video.stem}-{digest}"
    make_subject(PreprocessRequest(video=video, out=folder), one_at_a_time(progress))
    return folder
