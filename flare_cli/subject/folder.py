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

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.data.atomic import write_text_whole
from flare_cli.data.json_file import read_json, write_json
from flare_cli.errors import SubjectError
from flare_cli.render.camera import OPENGL_FROM_OPENCV, Cameras
from flare_cli.subject.track import Track

WORLD_UNITS_PER_METRE = 4.0
SIDECAR_VERSION = 1
PARAMETERS, SIDECAR = "flame_params.json", "flare.json"
GIVEN_TRACK = "given_track"


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
        """The CelebAMask-19 label image of frame `number`."""
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

    Raises `SubjectError` where a file is missing, not JSON, lacks a key, or holds a number that is not finite.
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
    params, sidecar = read_json(params_path), read_json(sidecar_path)
    try:
        track = _track(params, sidecar)
        quality = tuple(FrameQuality(**q) for q in sidecar["quality"])
        subject = Subject(
            folder=folder,
            track=track,
            quality=quality,
            source=sidecar["source"],
            videos=tuple(str(v["name"]) for v in sidecar.get("videos", ())),
            held_out=tuple(int(n) for n in sidecar["held_out"]) if "held_out" in sidecar else None,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SubjectError(
            f"{params_path} or its flare.json lacks a part or has a wrong shape: {error!r}",
            hint="run `flare preprocess` again with --overwrite",
        ) from error
    for name in ("shape", "expression", "pose", "translation"):
        if not torch.isfinite(getattr(track, name)).all():
            raise SubjectError(f"{params_path} holds a {name} that is not finite", hint="run `flare preprocess` again")
    return subject


def _track(params: dict[str, Any], sidecar: dict[str, Any]) -> Track:
    frames = params["frames"]
    if not frames:
        raise ValueError("no frames")
    height, width = (int(n) for n in sidecar["size"])
    if "videos" in sidecar:
        intrinsics = np.asarray([v["intrinsics"] for v in sidecar["videos"]], np.float64).reshape(-1, 4)
        views = np.asarray([v["camera_from_world"] for v in sidecar["videos"]], np.float64).reshape(-1, 3, 4)
        video = np.asarray(sidecar["video"], np.int64).reshape(len(frames))
        if video.min() < 0:
            raise ValueError("a frame of a video that is not there")
    else:
        i0, i1, i2, i3 = (float(x) for x in params["intrinsics"])
        intrinsics = np.asarray([[abs(i0) * width, i1 * height, i2 * width, i3 * height]])
        views = np.asarray(sidecar["camera_from_world"], np.float64).reshape(1, 3, 4)
        video = np.zeros(len(frames), np.int64)
    world = np.asarray([f["world_mat"] for f in frames], np.float64)[:, :3]
    in_camera = (OPENGL_FROM_OPENCV @ world)[:, :, 3] / WORLD_UNITS_PER_METRE
    rotation, offset = views[video, :, :3], views[video, :, 3]
    translation = np.einsum("nij,ni->nj", rotation, in_camera - offset)  # rotationᵀ (t - offset)
    return Track(
        head=str(sidecar["head"]),
        frames=torch.tensor([int(Path(f["file_path"]).name) for f in frames]),
        shape=_float32(params["shape_params"]),
        expression=_float32([f["expression"] for f in frames]),
        pose=_float32([f["pose"] for f in frames]).reshape(len(frames), -1, 3),
        translation=_float32(translation),
        camera=Cameras(
            intrinsics=_float32(intrinsics),
            camera_from_world=_float32(views),
            height=height,
            width=width,
        ),
        fps=float(sidecar["fps"]),
        video=torch.from_numpy(video) if "videos" in sidecar else None,
    )


def _float32(values: object) -> Float[Tensor, "..."]:
    """Numbers from a JSON file, rounded once: by way of float64."""
    return torch.tensor(np.asarray(values, np.float64), dtype=torch.float32)
