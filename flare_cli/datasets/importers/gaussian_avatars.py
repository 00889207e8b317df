"""VHAP's export, which GaussianAvatars reads: `transforms*.json` and one `flame_param/*.npz` per timestep.

Metres, OpenGL camera-to-world, FLAME 2023 by default. Several cameras may film the same timesteps: each is a video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.data.checked import COMPLETE, member, numbers
from flare_cli.datasets.importers.reading import read_arrays, read_record
from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo, SourceFrame, common_size
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint
from flare_cli.render.camera import OPENCV_FROM_OPENGL

FLAME_VERTICES, TEETH = 5023, 120
PER_FRAME = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
SPLITS = ("train", "val", "test")


def read_gaussian_avatars(folder: Path) -> ImportedSequences:
    """Read the export. Frames in `transforms_test.json` and `transforms_val.json` are held out."""
    frames, held_out, split = _listed_frames(folder)
    parameters = {path: _parameters(folder / path) for path in dict.fromkeys(f["flame_param_path"] for f in frames)}
    first = next(iter(parameters.values()))
    height, width = common_size([folder / f["file_path"] for f in frames])
    cameras = sorted({int(f.get("camera_index", 0)) for f in frames})
    videos = tuple(
        _video(
            folder,
            camera,
            [f for f in frames if int(f.get("camera_index", 0)) == camera],
            parameters,
            held_out,
            (height, width),
        )
        for camera in cameras
    )
    return ImportedSequences(
        format="gaussian-avatars",
        folder=folder,
        heads=("flame-2023", "flame-2023-no-jaw", "flame-2023-open", "flame-2020"),
        shape=first["shape"],
        videos=videos,
        height=height,
        width=width,
        split=split,
        notes=_notes(parameters),
    )


def _listed_frames(folder: Path) -> tuple[list[dict[str, Any]], set[tuple[int, int]], bool]:
    """All frames by (timestep, camera), those that are held out, and whether there is a split at all."""
    parts = {
        name: read_record(folder / f"transforms_{name}.json")
        for name in SPLITS
        if (folder / f"transforms_{name}.json").is_file()
    }
    whole = folder / "transforms.json"
    files = ([(whole, read_record(whole))] if whole.is_file() else []) + [
        (folder / f"transforms_{name}.json", part) for name, part in parts.items()
    ]
    if not files:
        raise SubjectError(f"{whole} is missing", hint=COMPLETE)
    frames: dict[tuple[int, int], dict[str, Any]] = {}
    for path, record in files:
        for i, frame in enumerate(member(record, "frames", path)):
            for key in ("timestep_index", "file_path", "flame_param_path", "transform_matrix"):
                member(frame, key, f"{path}, frame {i}")
            # What is said once for all frames holds where a frame does not say it itself.
            frames.setdefault(_key(frame), {**{k: v for k, v in record.items() if k != "frames"}, **frame})
    if not frames:
        raise SubjectError(f"{files[0][0]}: frames is empty", hint=COMPLETE)
    tested = {_key(f) for name in ("val", "test") if name in parts for f in parts[name]["frames"]}
    trained = {_key(f) for f in parts.get("train", {"frames": ()})["frames"]}
    held_out = tested - trained
    return [frames[key] for key in sorted(frames)], held_out, bool(held_out)


def _key(frame: dict[str, Any]) -> tuple[int, int]:
    return int(frame["timestep_index"]), int(frame.get("camera_index", 0))


def _parameters(path: Path) -> dict[str, Float[np.ndarray, "..."]]:
    arrays = read_arrays(path)
    one = {name: numbers(member(arrays, name, path), (1, size), path, name)[0] for name, size in PER_FRAME.items()}
    one["expr"] = numbers(member(arrays, "expr", path), (1, None), path, "expr")[0]
    one["shape"] = numbers(np.ravel(member(arrays, "shape", path)), (None,), path, "shape")
    for name in ("static_offset", "dynamic_offset"):
        if name in arrays and arrays[name].ndim:
            offset = numbers(np.reshape(arrays[name], (-1, 3)), (None, 3), path, name)
            if len(offset) not in (FLAME_VERTICES, FLAME_VERTICES + TEETH):
                raise SubjectError(f"{path}: {name} has {len(offset)} vertices, expected 5023 or 5143", hint=COMPLETE)
            # The last 120 vertices are VHAP's teeth, which FLAME itself does not have.
            one[name] = offset[:FLAME_VERTICES]
    return one


def _video(
    folder: Path,
    camera: int,
    frames: list[dict[str, Any]],
    parameters: dict[str, dict[str, Float[np.ndarray, "..."]]],
    held_out: set[tuple[int, int]],
    size: tuple[int, int],
) -> ImportedVideo:
    of_frames = [parameters[f["flame_param_path"]] for f in frames]
    where = f"{folder}, camera {camera}"
    pose = [np.concatenate([p["rotation"], p["neck_pose"], p["jaw_pose"], p["eyes_pose"]]) for p in of_frames]
    lens = np.stack([_intrinsics(f, f"{where}, frame {i}", size) for i, f in enumerate(frames)])
    if np.ptp(lens, axis=0).max() > 1e-6:
        raise SubjectError(
            f"{where}: the intrinsics change from frame to frame", hint="export each lens as its own camera"
        )
    views = [_camera_from_world(f["transform_matrix"], f"{where}, frame {i}") for i, f in enumerate(frames)]
    return ImportedVideo(
        name=f"camera {camera}",
        sources=tuple(
            SourceFrame(
                name=Path(f["file_path"]).stem,
                image=folder / f["file_path"],
                mask=folder / f["fg_mask_path"] if f.get("fg_mask_path") else None,
            )
            for f in frames
        ),
        expression=np.stack([p["expr"] for p in of_frames]),
        pose=np.stack(pose).reshape(-1, len(Joint), 3),
        translation=np.stack([p["translation"] for p in of_frames]),
        camera_from_world=np.stack(views),
        intrinsics=lens[0],
        held_out=np.array([_key(f) in held_out for f in frames]),
    )


def _intrinsics(frame: dict[str, Any], where: str, size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    height, width = size
    stated = (int(frame.get("h", height)), int(frame.get("w", width)))
    if stated != size:
        raise SubjectError(f"{where}: it says {stated[1]}x{stated[0]}, the picture is {width}x{height}", hint=COMPLETE)
    if "fl_x" not in frame:
        angle = float(numbers(member(frame, "camera_angle_x", where), (), where, "camera_angle_x"))
        focal = 0.5 * width / np.tan(0.5 * angle)
        return np.array([focal, focal, width / 2, height / 2])
    keys = ("fl_x", "fl_y", "cx", "cy")
    return np.array([float(numbers(member(frame, key, where), (), where, key)) for key in keys])


def _camera_from_world(transform: Any, where: str) -> Float[np.ndarray, "3 4"]:
    world_from_camera = numbers(transform, (4, 4), where, "transform_matrix")
    rotation = (world_from_camera[:3, :3] @ OPENCV_FROM_OPENGL).T
    return np.concatenate([rotation, -rotation @ world_from_camera[:3, 3:]], 1)


def _notes(parameters: dict[str, dict[str, Float[np.ndarray, "..."]]]) -> tuple[str, ...]:
    notes: list[str] = []
    for name in ("static_offset", "dynamic_offset"):
        largest = max((float(np.abs(p[name]).max()) for p in parameters.values() if name in p), default=0.0)
        if largest > 0:
            notes.append(f"{name} (up to {1000 * largest:.1f} mm) is left out: a fit finds its own offsets")
    return tuple(notes)
