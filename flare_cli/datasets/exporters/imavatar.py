"""A subject as an IMavatar / PointAvatar / FLARE data set: one folder with `flame_params.json` per video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from flare_cli.data.json_file import write_json
from flare_cli.datasets.exporters.parts import (
    Exported,
    ExportedVideo,
    copy_picture,
    float64,
    new_folder,
    require_flame,
    shortened,
    videos_of,
)
from flare_cli.render.camera import OPENGL_FROM_OPENCV
from flare_cli.subject.folder import WORLD_UNITS_PER_METRE, Subject

N_SHAPE, N_EXPRESSION = 100, 50


def export_imavatar(subject: Subject, folder: Path) -> Exported:
    """Write `<folder>/<video>/` with pictures, masks, labels and parameters; `folder` itself for a single video.

    Frames that the subject's split holds out become a video of their own called `test`, because these programs split by
    folder. Head translation goes into `world_mat`. Raises `SubjectError` where the head is not FLAME.
    """
    require_flame(subject.track, "flame_params.json")
    new_folder(folder, subject)
    notes: tuple[str, ...] = ()
    parts = _split_by_folder(subject)
    for path, video in parts:
        target = folder / path
        target.mkdir(parents=True, exist_ok=True)
        params, lost = _params(subject, video)
        notes += tuple(note for note in lost if note not in notes)
        for i in video.indices:
            number = int(subject.track.frames[i])
            copy_picture(subject.image_path(number), target / "image" / f"{number}.png")
            copy_picture(subject.mask_path(number), target / "mask" / f"{number}.png")
            copy_picture(subject.label_path(number), target / "semantic" / f"{number}.png")
        write_json(target / "flame_params.json", params)
    if subject.track.camera.height != subject.track.camera.width:
        notes += ("the pictures are not square: IMavatar and FLARE themselves read square ones only",)
    return Exported(folder=folder, frames=len(subject.track), notes=notes)


def _split_by_folder(subject: Subject) -> list[tuple[str, ExportedVideo]]:
    held_out = set(subject.held_out or ())
    numbers = subject.track.frames.tolist()
    videos = videos_of(subject)
    if len(videos) == 1 and not held_out:
        return [("", videos[0])]
    parts: list[tuple[str, ExportedVideo]] = []
    for video in videos:
        name = video.name.replace("/", "_").replace(" ", "_")
        for tested in (False, True):
            indices = [i for i in video.indices if (numbers[i] in held_out) == tested]
            if not indices:
                continue
            part = ExportedVideo(
                name=video.name,
                indices=indices,
                camera_from_world=video.camera_from_world,
                intrinsics=video.intrinsics,
            )
            is_named_so = {"test", "eval", "val"} & set(video.name.split("/"))
            parts.append((f"test/{name}" if tested and not is_named_so else video.name if is_named_so else name, part))
    return parts


def _params(subject: Subject, video: ExportedVideo) -> tuple[dict[str, Any], tuple[str, ...]]:
    track = subject.track[torch.tensor(video.indices)]
    height, width = track.camera.height, track.camera.width
    rotation, offset = video.camera_from_world[:, :3], video.camera_from_world[:, 3]
    positions = float64(track.translation) @ rotation.T + offset
    expression, lost = shortened(float64(track.expression), N_EXPRESSION, "expression")
    shape, lost_shape = shortened(float64(track.shape), N_SHAPE, "shape")
    frames: list[dict[str, Any]] = []
    for i, number in enumerate(track.frames.tolist()):
        world_mat = np.concatenate([rotation, WORLD_UNITS_PER_METRE * positions[i][:, None]], 1)
        frames.append(
            {
                "file_path": f"./image/{number}",
                "world_mat": (OPENGL_FROM_OPENCV @ world_mat).tolist(),
                "expression": expression[i].tolist(),
                "pose": float64(track.pose[i]).ravel().tolist(),
            }
        )
    fx, fy, cx, cy = video.intrinsics.tolist()
    intrinsics = [-fx / width, fy / height, cx / width, cy / height]
    return {"frames": frames, "intrinsics": intrinsics, "shape_params": shape.tolist()}, lost + lost_shape
