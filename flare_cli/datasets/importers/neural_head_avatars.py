"""Neural Head Avatars (video-head-tracker): `frame_*/` folders and `tracking_*/tracked_flame_params.npz`.

PyTorch3D camera (x left, y up), the posed head centred on its root joint, and neck, jaw and eyes stored before their
tanh limits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.data.checked import COMPLETE, member, numbers
from flare_cli.datasets.importers.reading import if_there, read_arrays, read_record, same_count
from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo, SourceFrame, common_size
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint

PARAMETERS = "tracked_flame_params.npz"
OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
# Degrees (low, high) per axis: what tanh maps the stored numbers into.
LIMITS = {
    "neck_pose": ((-90, 90), (-60, 60), (-80, 80)),
    "jaw_pose": ((-5, 60), (-0.1, 0.1), (-0.1, 0.1)),
    "eyes_pose": ((-50, 50), (-50, 50), (-0.1, 0.1)) * 2,
}


def parameter_file(folder: Path) -> Path | None:
    """The newest tracking in `folder`: `tracking_<n>/` with the highest n, or the file itself."""
    trackings = sorted(folder.glob(f"tracking_*/{PARAMETERS}"), key=lambda p: (len(p.parent.name), p.parent.name))
    return trackings[-1] if trackings else if_there(folder / PARAMETERS)


def limited(name: str, stored: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Angles in radians of what the file stores."""
    low, high = np.radians(np.array(LIMITS[name], np.float64)).T
    return low + (np.tanh(stored) + 1) / 2 * (high - low)


def read_neural_head_avatars(folder: Path) -> ImportedSequences:
    """Read data set and tracking. A `split.json` ({"train": [...], "val": [...]}) decides what is held out."""
    path = parameter_file(folder)
    if path is None:
        raise SubjectError(f"there is no tracking_*/{PARAMETERS} in {folder}", hint=COMPLETE)
    arrays = read_arrays(path)
    sizes = {"rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": None}
    rows = {name: numbers(member(arrays, name, path), (None, size), path, name) for name, size in sizes.items()}
    frame = numbers(np.ravel(member(arrays, "frame", path)), (None,), path, "frame").astype(int)
    same_count({"frame": len(frame)} | {name: len(values) for name, values in rows.items()}, path)
    if not len(frame):
        raise SubjectError(f"{path} holds no frames", hint=COMPLETE)
    order = np.argsort(frame, kind="stable")
    rows = {name: values[order] for name, values in rows.items()}
    frame = frame[order]
    sources = tuple(_source(folder, int(number)) for number in frame)
    height, width = common_size([s.image for s in sources])
    held_out = np.isin(frame, sorted(_evaluation_frames(folder)))
    angles = [rows["rotation"], *(limited(name, rows[name]) for name in LIMITS)]
    return ImportedSequences(
        format="neural-head-avatars",
        folder=folder,
        heads=("flame-2020",),
        shape=numbers(np.ravel(member(arrays, "shape", path)), (None,), path, "shape"),
        videos=(
            ImportedVideo(
                name=folder.name,
                sources=sources,
                expression=rows["expr"],
                pose=np.concatenate(angles, 1).reshape(-1, len(Joint), 3),
                translation=rows["translation"],
                camera_from_world=np.repeat(_camera(arrays, path)[None], len(frame), 0),
                intrinsics=_intrinsics(arrays, path, height, width),
                held_out=held_out,
                keypoints=_keypoints(folder, frame),
            ),
        ),
        height=height,
        width=width,
        split=bool(held_out.any()),
        root_centred=True,
    )


def _source(folder: Path, number: int) -> SourceFrame:
    frame = folder / f"frame_{number:04d}"
    return SourceFrame(
        name=f"{number:04d}",
        image=frame / "image_0000.png",
        mask=if_there(frame / "seg_0000.png"),
        label=if_there(frame / "parsing_0000.png"),
    )


def _camera(arrays: dict[str, Any], path: Path) -> Float[np.ndarray, "3 4"]:
    """PyTorch3D multiplies rows: x_camera = x R + T, so its R is the transpose of ours."""
    stored = numbers(member(arrays, "RT", path), (3, 4), path, "RT")
    view = np.concatenate([stored[:, :3].T, stored[:, 3:]], 1)
    return OPENCV_FROM_PYTORCH3D @ view


def _intrinsics(arrays: dict[str, Any], path: Path, height: int, width: int) -> Float[np.ndarray, "4"]:
    K = np.asarray(member(arrays, "K", path))
    tall, wide = numbers(np.ravel(member(arrays, "image_size", path)), (2,), path, "image_size")
    if K.shape == (3, 3):
        pixels = numbers(K, (3, 3), path, "K")
        scale_x, scale_y = width / wide, height / tall
        fx, fy = pixels[0, 0] * scale_x, pixels[1, 1] * scale_y
        px, py = pixels[0, 2] * scale_x, pixels[1, 2] * scale_y
    else:
        focal, cx, cy = numbers(np.ravel(K), (3,), path, "K")
        fx, fy = focal * max(tall, wide) * width / wide, focal * max(tall, wide) * height / tall
        px, py = cx * width, cy * height
    # PyTorch3D is given the principal point (px, H - py), which it measures from the top: K's own py is from below.
    return np.array([fx, fy, px, height - py])


def _evaluation_frames(folder: Path) -> set[int]:
    path = folder / "split.json"
    if not path.is_file():
        return set()
    record = read_record(path)
    return {int(n) for n in member(record, "val", path)} - {int(n) for n in record.get("train", ())}


def _keypoints(folder: Path, frames: np.ndarray) -> Float[np.ndarray, "N 68 2"] | None:
    paths = [folder / f"frame_{number:04d}" / "keypoints_static_0000.json" for number in frames]
    if not all(path.is_file() for path in paths):
        return None
    keypoints: list[np.ndarray] = []
    for path in paths:
        people = member(read_record(path), "people", path)
        points = numbers(member(people[0], "face_keypoints_2d", path), (204,), path, "face_keypoints_2d")
        keypoints.append(points.reshape(68, 3)[:, :2])
    return np.stack(keypoints)
