"""A subject as VHAP exports it and GaussianAvatars reads it: `transforms*.json`, `flame_param/`, `fg_masks/`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from flare_cli.data.atomic import replace_whole
from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.data.json_file import write_json
from flare_cli.datasets.exporters.parts import (
    Exported,
    copy_picture,
    float64,
    new_folder,
    require_flame,
    shortened,
    videos_of,
)
from flare_cli.head.joints import Joint
from flare_cli.render.camera import OPENGL_FROM_OPENCV
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track

N_SHAPE, N_EXPRESSION = 300, 100
VERTICES_WITH_TEETH = 5143
CANONICAL_JAW = 0.3
HELD_OUT = 0.3
"""VHAP's own split: the last 30 % of the timesteps."""


def export_gaussian_avatars(subject: Subject, folder: Path) -> Exported:
    """Write the folder. Timesteps count from 0 through all videos, each video is a camera.

    Offsets are zeros for 5,143 vertices, as the readers demand; pictures are laid over white. Without a split of its
    own the last 30 % are the test frames. Raises `SubjectError` where the head is not FLAME.
    """
    require_flame(subject.track, "flame_param")
    new_folder(folder, subject)
    track = subject.track
    shape, lost_shape = shortened(float64(track.shape), N_SHAPE, "shape")
    expression, lost = shortened(float64(track.expression), N_EXPRESSION, "expression")
    notes = lost_shape + lost
    if not track.head.startswith("flame-2023"):
        notes += (f"the coefficients are {track.head}'s; GaussianAvatars loads FLAME 2023 unless told otherwise",)
    (folder / "flame_param").mkdir()
    for i in range(len(track)):
        _save(folder / "flame_param" / f"{i:05d}.npz", _parameters(track, i, shape, expression[i]))
    _save(folder / "canonical_flame_param.npz", _canonical(shape))
    frames: list[dict[str, Any]] = []
    for camera, video in enumerate(videos_of(subject)):
        lens = _lens(video.intrinsics, track.camera.height, track.camera.width)
        transform = _world_from_opengl(video.camera_from_world).tolist()
        for i in video.indices:
            name = f"{i:05d}_{camera:02d}.png"
            _copy_over_white(subject, int(track.frames[i]), folder / "images" / name)
            copy_picture(subject.mask_path(int(track.frames[i])), folder / "fg_masks" / name)
            frames.append(
                {
                    "timestep_index": i,
                    "timestep_index_original": i,
                    "timestep_id": f"{int(track.frames[i]):05d}",
                    "camera_index": camera,
                    "camera_id": str(camera),
                    **lens,
                    "transform_matrix": transform,
                    "file_path": f"images/{name}",
                    "fg_mask_path": f"fg_masks/{name}",
                    "flame_param_path": f"flame_param/{i:05d}.npz",
                }
            )
    _write_transforms(folder, sorted(frames, key=lambda f: f["timestep_index"]), subject)
    return Exported(folder=folder, frames=len(track), notes=notes)


def _parameters(
    track: Track, i: int, shape: Float[np.ndarray, "S"], expression: Float[np.ndarray, "E"]
) -> dict[str, np.ndarray]:
    pose = float64(track.pose[i])
    return {
        "translation": float64(track.translation[i])[None],
        "rotation": pose[Joint.ROOT][None],
        "neck_pose": pose[Joint.NECK][None],
        "jaw_pose": pose[Joint.JAW][None],
        "eyes_pose": pose[Joint.EYE_LEFT :].reshape(1, 6),
        "shape": shape,
        "expr": expression[None],
        "static_offset": np.zeros((1, VERTICES_WITH_TEETH, 3)),
        "dynamic_offset": np.zeros((1, VERTICES_WITH_TEETH, 3)),
    }


def _canonical(shape: Float[np.ndarray, "S"]) -> dict[str, np.ndarray]:
    sizes = {"translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": N_EXPRESSION}
    arrays = {name: np.zeros((1, size)) for name, size in sizes.items()}
    arrays["jaw_pose"][0, 0] = CANONICAL_JAW
    return {**arrays, "shape": shape, "static_offset": np.zeros((1, VERTICES_WITH_TEETH, 3))}


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # GaussianAvatars keeps only float32 arrays; zeros compress to nothing.
    singles: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.items()}
    with replace_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **singles)


def _lens(intrinsics: Float[np.ndarray, "4"], height: int, width: int) -> dict[str, Any]:
    fx, fy, cx, cy = intrinsics.tolist()
    angles = {"camera_angle_x": 2 * math.atan(width / (2 * fx)), "camera_angle_y": 2 * math.atan(height / (2 * fy))}
    return {"cx": cx, "cy": cy, "fl_x": fx, "fl_y": fy, "h": height, "w": width, **angles}


def _world_from_opengl(camera_from_world: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "4 4"]:
    """Camera-to-world in OpenGL axes. A rotation's inverse is its transpose, exactly."""
    rotation, offset = camera_from_world[:, :3], camera_from_world[:, 3]
    transform = np.eye(4)
    transform[:3, :3] = rotation.T @ OPENGL_FROM_OPENCV
    transform[:3, 3] = -rotation.T @ offset
    return transform


def _copy_over_white(subject: Subject, number: int, target: Path) -> None:
    image, mask = read_rgb(subject.image_path(number)), read_grey(subject.mask_path(number))
    if mask.shape != image.shape[:2]:
        mask = cv2.resize(mask, image.shape[1::-1])
    alpha = mask[..., None] / 255
    write_png(target, (image * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8))


def _write_transforms(folder: Path, frames: list[dict[str, Any]], subject: Subject) -> None:
    held_out = subject.held_out
    if held_out is None:
        first = round(len(frames) * (1 - HELD_OUT))
        tested = {f["timestep_index"] for f in frames[first:]}
    else:
        tested = {i for i, number in enumerate(subject.track.frames.tolist()) if number in held_out}
    parts = {
        "": frames,
        "_train": [f for f in frames if f["timestep_index"] not in tested],
        "_val": [],
        "_test": [f for f in frames if f["timestep_index"] in tested],
    }
    lens = {k: frames[0][k] for k in ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")}
    for name, part in parts.items():
        record = {
            "frames": part,
            **lens,
            "timestep_indices": sorted({f["timestep_index"] for f in part}),
            "camera_indices": sorted({f["camera_index"] for f in part}),
        }
        write_json(folder / f"transforms{name}.json", record)
