"""A subject on disk: the IMavatar layout (pictures, masks, labels, `flame_params.json`) plus our sidecar `flare.json`.

    <subject>/image/<n>.png  mask/<n>.png  semantic/<n>.png     n counts from 1, unpadded
    <subject>/flame_params.json                                 read by IMavatar, PointAvatar and FLARE as well
    <subject>/flare.json                                        head model, fps, per-frame quality, excluded frames
    <subject>/given_track/                                      both files as they were before a fit refined the track

`flame_params.json` is in that family's units: world = 4 x metres, OpenGL world-to-camera, intrinsics as fractions of
the picture with a negative fx. A frame's translation is in its `world_mat`, whose rotation is the same in all frames
of a video. A subject of several videos numbers its pictures through; `flare.json` then holds `videos` (name, camera,
intrinsics) and each frame's `video`. `held_out`, where the recording has its own split, lists frames
not to train on.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.config.schema import setting
from flare_cli.config.tables import bounded, read_tables, shown
from flare_cli.config.versions import known_version
from flare_cli.data.atomic import write_text_whole
from flare_cli.data.checked import member, numbers
from flare_cli.data.image import LARGEST_EDGE
from flare_cli.data.json_file import read_json, write_json
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint
from flare_cli.render.camera import OPENGL_FROM_OPENCV, Cameras
from flare_cli.subject.track import Track

WORLD_UNITS_PER_METRE = 4.0
SIDECAR_VERSION = 1
PARAMETERS, SIDECAR = "flame_params.json", "flare.json"
GIVEN_TRACK = "given_track"
AGAIN = "run `flare preprocess` again with --overwrite"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameQuality:
    """How well one source frame was tracked. `error` is the median landmark distance over the inter-ocular distance."""

    number: int
    time: float
    error: float | None
    confidence: float
    excluded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A recorded person: the folder, its track, and what preprocessing thought of each frame.

    `videos` names the videos of a recording that has several. `held_out` are the frame numbers that the recording's own
    split keeps for evaluation; None where it has no split.
    """

    folder: Path
    track: Track
    quality: tuple[FrameQuality, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    videos: tuple[str, ...] = ()
    held_out: tuple[int, ...] | None = None

    def image_path(self, number: int) -> Path:
        """The picture of frame `number`."""
        return self.folder / "image" / f"{number}.png"

    def mask_path(self, number: int) -> Path:
        """The foreground mask of frame `number`."""
        return self.folder / "mask" / f"{number}.png"

    def label_path(self, number: int) -> Path:
        """The CelebAMask-19 label image of frame `number`; OCCLUDED where something passes before the head."""
        return self.folder / "semantic" / f"{number}.png"


def save_subject(subject: Subject) -> None:
    """Write `flame_params.json` and `flare.json`, each whole or not at all, but no pictures."""
    track = subject.track
    camera = track.camera
    views = camera.camera_from_world.double().cpu().numpy()
    fx, fy, cx, cy = camera.intrinsics[0].double().tolist()
    video = [0] * len(track) if track.video is None else track.video.tolist()
    frames: list[dict[str, Any]] = []
    for i, number in enumerate(track.frames.tolist()):
        rotation, offset = views[video[i], :, :3], views[video[i], :, 3]
        translation = rotation @ track.translation[i].double().cpu().numpy() + offset
        world_mat = np.concatenate([rotation, WORLD_UNITS_PER_METRE * translation[:, None]], 1)
        frames.append(
            {
                "file_path": f"./image/{number}",
                "world_mat": (OPENGL_FROM_OPENCV @ world_mat).tolist(),
                "expression": track.expression[i].double().tolist(),
                "pose": track.pose[i].reshape(-1).double().tolist(),
            }
        )
    params = {
        "frames": frames,
        "intrinsics": [-fx / camera.width, fy / camera.height, cx / camera.width, cy / camera.height],
        "shape_params": track.shape.double().tolist(),
    }
    sidecar = {
        "version": SIDECAR_VERSION,
        "head": track.head,
        "fps": track.fps,
        "size": [camera.height, camera.width],
        "camera_from_world": camera.camera_from_world[0].double().tolist(),
        "source": subject.source,
        "quality": [
            {
                "number": q.number,
                "time": q.time,
                "error": q.error,
                "confidence": q.confidence,
                "excluded": q.excluded,
            }
            for q in subject.quality
        ],
    }
    if track.video is not None:
        names = subject.videos or tuple(f"video {v + 1}" for v in range(len(camera)))
        lenses = camera.intrinsics.double().tolist()
        sidecar["videos"] = [
            {"name": name, "camera_from_world": view.tolist(), "intrinsics": lens}
            for name, view, lens in zip(names, views, lenses, strict=True)
        ]
        sidecar["video"] = video
    if subject.held_out is not None:
        sidecar["held_out"] = list(subject.held_out)
    subject.folder.mkdir(parents=True, exist_ok=True)
    write_json(subject.folder / SIDECAR, sidecar)
    write_json(subject.folder / PARAMETERS, params)


def replace_track(subject: Subject, track: Track, *, by: str) -> None:
    """Give the subject another track, made `by` whom. The one that it was given first is kept in `given_track/`."""
    kept = subject.folder / GIVEN_TRACK
    if not (kept / PARAMETERS).is_file():
        kept.mkdir(exist_ok=True)
        for name in (SIDECAR, PARAMETERS):
            write_text_whole(kept / name, (subject.folder / name).read_text(encoding="utf-8"))
    save_subject(replace(subject, track=track, source={**subject.source, "track": by}))


def load_subject(folder: Path) -> Subject:
    """Read a subject folder that `save_subject` wrote.

    Raises `SubjectError` naming file and key where something is missing, of another shape, not finite or impossible.
    """
    subject = _read_subject(folder)
    missing = [n for n in subject.track.frames.tolist() if not subject.image_path(n).is_file()]
    if missing:
        raise SubjectError(
            f"{folder} lists {len(missing)} frame(s) without a picture, the first is {subject.image_path(missing[0])}",
            hint="copy the whole folder, or run `flare preprocess` again",
        )
    return subject


def load_track(folder: Path) -> Track:
    """The track in a folder that `save_subject` wrote, which need not hold the pictures. Raises `SubjectError`."""
    return _read_subject(folder).track


def _read_subject(folder: Path) -> Subject:
    params_path, sidecar_path = folder / PARAMETERS, folder / SIDECAR
    if not folder.is_dir():
        raise SubjectError(f"{folder} is not a folder", hint="make a subject with `flare preprocess video.mp4`")
    if not params_path.is_file():
        raise SubjectError(
            f"{folder} is not a subject: flame_params.json is missing",
            hint="make a subject with `flare preprocess video.mp4`, or check the path",
        )
    sidecar = _read_sidecar(sidecar_path)
    frames = _read_frames(params_path)
    return Subject(
        folder=folder,
        track=_track(frames, _read_views(sidecar, sidecar_path, frames), sidecar),
        quality=tuple(
            read_tables(FrameQuality, q, f"{sidecar_path}, quality {i}", error=SubjectError, hint=AGAIN)
            for i, q in enumerate(sidecar.quality)
        ),
        source=sidecar.source,
        videos=tuple(str(member(v, "name", sidecar_path, hint=AGAIN)) for v in sidecar.videos or ()),
        held_out=sidecar.held_out,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sidecar:
    """`flare.json`; arrays and tables in it are looked into by those who need them."""

    version: int = setting(SIDECAR_VERSION, "layout of the file")
    head: str
    fps: float = bounded("frames per second", low=1e-3, high=1e4)
    size: tuple[int, ...]
    camera_from_world: list[Any]
    source: dict[str, Any]
    quality: list[Any]
    videos: list[Any] | None = None
    video: tuple[int, ...] | None = None
    held_out: tuple[int, ...] | None = None


def _read_sidecar(path: Path) -> _Sidecar:
    value = read_json(path)
    known_version(value.get("version", 1), SIDECAR_VERSION, str(path), error=SubjectError, again=AGAIN)
    sidecar = read_tables(_Sidecar, value, str(path), error=SubjectError, hint=AGAIN)
    if len(sidecar.size) != 2 or not all(1 <= edge <= LARGEST_EDGE for edge in sidecar.size):
        raise SubjectError(f"{path}: size is {shown(sidecar.size)}, not height and width in pixels", hint=AGAIN)
    return sidecar


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frames:
    """`flame_params.json`, its arrays in the file's own units."""

    path: Path
    numbers: list[int]
    intrinsics: Float[np.ndarray, "4"]
    shape: Float[np.ndarray, "S"]
    expression: Float[np.ndarray, "N E"]
    pose: Float[np.ndarray, "N P"]
    world: Float[np.ndarray, "N 3 4"]


def _read_frames(path: Path) -> _Frames:
    params = read_json(path)
    frames = member(params, "frames", path, hint=AGAIN)
    if not isinstance(frames, list) or not frames:
        raise SubjectError(f"{path} lists no frames", hint=AGAIN)

    def stacked(key: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "N *shape"]:
        values = [member(frame, key, f"{path}, frame {i}", hint=AGAIN) for i, frame in enumerate(frames)]
        return numbers(values, (len(frames), *shape), path, key, hint=AGAIN)

    files = [member(frame, "file_path", f"{path}, frame {i}", hint=AGAIN) for i, frame in enumerate(frames)]
    names = [Path(file).name if isinstance(file, str) else "" for file in files]
    wrong = next((i for i, name in enumerate(names) if not re.fullmatch("[0-9]{1,9}", name)), None)
    if wrong is not None:
        raise SubjectError(
            f"{path}, frame {wrong}: file_path is {shown(files[wrong])}, not ./image/ and a number", hint=AGAIN
        )
    counted = Counter(int(name) for name in names)
    number, count = counted.most_common(1)[0]
    if count > 1:
        raise SubjectError(f"{path} lists frame {number} {count} times", hint=AGAIN)
    return _Frames(
        path=path,
        numbers=list(counted),
        intrinsics=numbers(member(params, "intrinsics", path, hint=AGAIN), (4,), path, "intrinsics", hint=AGAIN),
        shape=numbers(member(params, "shape_params", path, hint=AGAIN), (None,), path, "shape_params", hint=AGAIN),
        expression=stacked("expression", (None,)),
        pose=stacked("pose", (3 * len(Joint),)),
        world=stacked("world_mat", (3, 4)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Views:
    """One camera per video (intrinsics in pixels; metres, OpenCV axes), and which of them filmed each frame."""

    intrinsics: Float[np.ndarray, "K 4"]
    camera_from_world: Float[np.ndarray, "K 3 4"]
    video: Int[np.ndarray, "N"]


def _read_views(sidecar: _Sidecar, path: Path, frames: _Frames) -> _Views:
    height, width = sidecar.size
    n, where = len(frames.numbers), path
    if sidecar.videos is None:
        fx, fy, cx, cy = frames.intrinsics
        lens = np.array([[abs(fx) * width, fy * height, cx * width, cy * height]])
        seen, video, where = [sidecar.camera_from_world], np.zeros(n, np.int64), frames.path
    else:
        lens = [member(v, "intrinsics", path, hint=AGAIN) for v in sidecar.videos]
        seen = [member(v, "camera_from_world", path, hint=AGAIN) for v in sidecar.videos]
        video = np.array(sidecar.video or (), np.int64)
        if len(video) != n or video.min() < 0 or video.max() >= len(seen):
            raise SubjectError(f"{path}: video does not name one of the videos for each of {n} frames", hint=AGAIN)
    intrinsics = numbers(lens, (len(seen), 4), where, "intrinsics", hint=AGAIN)
    if intrinsics[:, :2].min() <= 0:
        raise SubjectError(f"{where}: intrinsics has a focal length of {intrinsics[:, :2].min():.4g}", hint=AGAIN)
    views = numbers(seen, (len(seen), 3, 4), path, "camera_from_world", hint=AGAIN)
    turns = views[:, :, :3]
    if np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max() > 1e-2 or np.linalg.det(turns).min() < 0:
        raise SubjectError(f"{path}: camera_from_world is not a rotation and a translation", hint=AGAIN)
    return _Views(intrinsics=intrinsics, camera_from_world=views, video=video)


def _track(frames: _Frames, views: _Views, sidecar: _Sidecar) -> Track:
    height, width = sidecar.size
    in_camera = (OPENGL_FROM_OPENCV @ frames.world)[:, :, 3] / WORLD_UNITS_PER_METRE
    of_frame = views.camera_from_world[views.video]
    rotation, offset = of_frame[:, :, :3], of_frame[:, :, 3]
    translation = np.einsum("nij,ni->nj", rotation, in_camera - offset)  # rotationᵀ (t - offset)
    return Track(
        head=sidecar.head,
        frames=torch.tensor(frames.numbers),
        shape=_float32(frames.shape),
        expression=_float32(frames.expression),
        pose=_float32(frames.pose).reshape(len(frames.numbers), -1, 3),
        translation=_float32(translation),
        camera=Cameras(
            intrinsics=_float32(views.intrinsics),
            camera_from_world=_float32(views.camera_from_world),
            height=height,
            width=width,
        ),
        fps=sidecar.fps,
        video=None if sidecar.videos is None else torch.from_numpy(views.video),
    )


def _float32(values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.tensor(values, dtype=torch.float32)
