"""INSTA data sets: `transforms.json` for cameras, pictures and split; the `.frame` files for the head.

`transforms.json` has the head's motion only as a camera, and of the face only the expression: jaw and eyes are nowhere
but in the meshes, whose topology is not FLAME's. So the tracker's `.frame` files are needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.data.checked import COMPLETE, member, numbers
from flare_cli.datasets.importers.metrical_tracker import checkpoint_files, eyelid_notes, read_checkpoint, video_of
from flare_cli.datasets.importers.reading import read_record
from flare_cli.datasets.sequences import ImportedSequences, SourceFrame, common_size
from flare_cli.errors import SubjectError
from flare_cli.render.camera import OPENCV_FROM_OPENGL


def read_insta(folder: Path) -> ImportedSequences:
    """Read the data set. Frames of `transforms_test.json` and `transforms_val.json` are held out."""
    path = folder / "transforms.json"
    frames, held_out = _listed_frames(folder)
    files = {file.stem: file for file in [*checkpoint_files(folder), *sorted(folder.glob("*/*/*.frame"))]}
    stems = [Path(member(f, "file_path", f"{path}, frame {i}")).stem for i, f in enumerate(frames)]
    if not files:
        raise SubjectError(
            f"{folder} has no .frame files; INSTA's own files say nothing of the jaw and the eyes, and its meshes"
            " are simplified to another topology than FLAME's",
            hint="copy metrical-tracker's checkpoint/ folder of this actor into it",
        )
    missing = [stem for stem in stems if stem not in files]
    if missing:
        raise SubjectError(f"{folder} has no checkpoint {missing[0]}.frame for {len(missing)} frame(s)", hint=COMPLETE)
    checkpoints = [read_checkpoint(files[stem]) for stem in stems]
    sources = tuple(_source(folder, frame) for frame in frames)
    height, width = common_size([s.image for s in sources])
    record = read_record(path)
    where = str(path)
    lens = np.array([float(numbers(member(record, k, where), (), where, k)) for k in ("fl_x", "fl_y", "cx", "cy")])
    stated = tuple(int(record.get(key, size)) for key, size in (("h", height), ("w", width)))
    if stated != (height, width):
        raise SubjectError(f"{path} says {stated[1]}x{stated[0]}, the pictures are {width}x{height}", hint=COMPLETE)
    views, flipped = _cameras(frames, where)
    video = video_of(checkpoints, sources, np.array([stem in held_out for stem in stems]), folder)
    notes = eyelid_notes(checkpoints)
    if flipped:
        notes += ("transform_matrix is in OpenGL axes here; turned to OpenCV",)
    return ImportedSequences(
        format="insta",
        folder=folder,
        heads=("flame-2020",),
        shape=checkpoints[-1].shape,
        videos=(replace(video, camera_from_world=views, intrinsics=lens),),
        height=height,
        width=width,
        split=bool(held_out),
        head_fixed=True,
        labels="insta",
        notes=notes,
    )


def _listed_frames(folder: Path) -> tuple[list[dict[str, Any]], set[str]]:
    whole = folder / "transforms.json"
    frames = member(read_record(whole), "frames", whole)
    if not isinstance(frames, list) or not frames:
        raise SubjectError(f"{whole}: frames is empty or not a list", hint=COMPLETE)
    held_out: set[str] = set()
    for name in ("test", "val"):
        path = folder / f"transforms_{name}.json"
        if path.is_file():
            held_out |= {Path(f["file_path"]).stem for f in member(read_record(path), "frames", path)}
    order = sorted(frames, key=lambda f: str(f.get("file_path", "")))
    return order, held_out


def _source(folder: Path, frame: dict[str, Any]) -> SourceFrame:
    """The mask is the picture's alpha channel."""
    label = folder / frame["seg_mask_path"] if frame.get("seg_mask_path") else None
    image = folder / frame["file_path"]
    return SourceFrame(name=image.stem, image=image, label=label if label and label.is_file() else None)


def _cameras(frames: list[dict[str, Any]], where: str) -> tuple[Float[np.ndarray, "N 3 4"], bool]:
    """World-to-camera in OpenCV axes; released sets have either. The head, at the origin, is in front."""
    poses = np.stack(
        [
            numbers(member(f, "transform_matrix", f"{where}, frame {i}"), (4, 4), where, "transform_matrix")
            for i, f in enumerate(frames)
        ]
    )
    views = np.linalg.inv(poses)[:, :3]
    flipped = bool(np.median(views[:, 2, 3]) < 0)
    return (OPENCV_FROM_OPENGL @ views if flipped else views), flipped
