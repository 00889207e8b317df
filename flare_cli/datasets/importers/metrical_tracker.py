"""metrical-tracker checkpoints (`checkpoint/*.frame`): FLAME parameters and the camera of each frame, world = head.

The files are torch pickles; they are read by the restricted unpickler, which runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from flare_cli.data.checked import COMPLETE, member, numbers
from flare_cli.data.pickle.torch_files import load_torch_pickle
from flare_cli.datasets.importers.reading import if_there
from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo, SourceFrame, common_size
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint

PICTURE_FOLDERS = ("input", "images", "source")
LEAST_EYELID = 1e-3  # coefficients below this are nothing that could be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One `.frame` file: axis-angle, metres, OpenCV world-to-camera, pixels. `size` is (height, width)."""

    path: Path
    shape: Float[np.ndarray, "S"]
    expression: Float[np.ndarray, "E"]
    pose: Float[np.ndarray, "5 3"]
    eyelids: Float[np.ndarray, "2"]
    camera_from_world: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "4"]
    size: tuple[int, int]


def checkpoint_files(folder: Path) -> list[Path]:
    """The `.frame` files of an actor's folder (or of its `checkpoint` folder), in order."""
    for candidate in (folder / "checkpoint", folder):
        if files := sorted(candidate.glob("*.frame")):
            return files
    return []


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one `.frame` file. Raises `SubjectError` naming what is missing or wrong."""
    record = load_torch_pickle(path)
    flame, opencv = member(record, "flame", path), member(record, "opencv", path)

    def part(group: Any, key: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "..."]:
        return numbers(member(group, key, path), shape, path, key)[0]

    K = part(opencv, "K", (1, 3, 3))
    rotation = part(opencv, "R", (1, 3, 3))
    size = numbers(np.ravel(member(record, "img_size", path)), (2,), path, "img_size")
    # Only the jaw and the eyes move: the rest of the head's motion is in the camera.
    pose = np.zeros((len(Joint), 3))
    pose[Joint.JAW] = axis_angle_from_6d(part(flame, "jaw", (1, 6))[None])[0]
    pose[Joint.EYE_LEFT :] = axis_angle_from_6d(part(flame, "eyes", (1, 12)).reshape(2, 6))
    eyelids = part(flame, "eyelids", (1, 2)) if "eyelids" in flame else np.zeros(2)
    return Checkpoint(
        path=path,
        shape=part(flame, "shape", (1, None)),
        expression=part(flame, "exp", (1, None)),
        pose=pose,
        eyelids=eyelids,
        camera_from_world=np.concatenate([rotation, part(opencv, "t", (1, 3))[:, None]], 1),
        intrinsics=np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]),
        size=(int(size[0]), int(size[1])),
    )


def axis_angle_from_6d(rows: Float[np.ndarray, "N 6"]) -> Float[np.ndarray, "N 3"]:
    """PyTorch3D's 6D rotations: the first two rows of the matrix, made orthonormal by Gram-Schmidt."""
    b1 = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    b2 = rows[:, 3:] - (b1 * rows[:, 3:]).sum(1, keepdims=True) * b1
    b2 /= np.linalg.norm(b2, axis=1, keepdims=True)
    return Rotation.from_matrix(np.stack([b1, b2, np.cross(b1, b2)], 1)).as_rotvec()


def eyelid_notes(checkpoints: list[Checkpoint]) -> tuple[str, ...]:
    """What is lost with the eyelids, which FLAME does not have: they are blend shapes of metrical-tracker's own."""
    largest = max(float(np.abs(c.eyelids).max()) for c in checkpoints)
    if largest < LEAST_EYELID:
        return ()
    return (f"eyelids (up to {largest:.2f}) are left out: FLAME has no such blend shapes, so blinks are weaker",)


def one_camera(checkpoints: list[Checkpoint]) -> Float[np.ndarray, "4"]:
    """The intrinsics of all frames. Raises `SubjectError` if they change."""
    lens = np.stack([c.intrinsics for c in checkpoints])
    odd = np.abs(lens - lens[0]).max(1)
    if odd.max() > 1e-3:
        raise SubjectError(
            f"{checkpoints[int(odd.argmax())].path}: its intrinsics differ from {checkpoints[0].path}'s",
            hint="track the video with one focal length",
        )
    return lens[0]


def read_metrical_tracker(folder: Path) -> ImportedSequences:
    """Read the tracker's output of one actor; pictures are in `input/` (or `images/`, `source/`)."""
    files = checkpoint_files(folder)
    if not files:
        raise SubjectError(f"there are no .frame files in {folder} or {folder / 'checkpoint'}", hint=COMPLETE)
    checkpoints = [read_checkpoint(path) for path in files]
    sources = tuple(_source(folder, path.stem) for path in files)
    height, width = common_size([s.image for s in sources])
    for checkpoint in checkpoints:
        if checkpoint.size != (height, width):
            raise SubjectError(
                f"{checkpoint.path} is for {checkpoint.size[1]}x{checkpoint.size[0]}, the picture is {width}x{height}",
                hint=COMPLETE,
            )
    return ImportedSequences(
        format="metrical-tracker",
        folder=folder,
        heads=("flame-2020",),
        shape=checkpoints[-1].shape,
        videos=(video_of(checkpoints, sources, np.zeros(len(files), bool), folder),),
        height=height,
        width=width,
        split=False,
        head_fixed=True,
        notes=eyelid_notes(checkpoints),
    )


def video_of(
    checkpoints: list[Checkpoint],
    sources: tuple[SourceFrame, ...],
    held_out: np.ndarray,
    folder: Path,
) -> ImportedVideo:
    """Checkpoints and their pictures as a video."""
    counts = {len(c.expression) for c in checkpoints}, {len(c.shape) for c in checkpoints}
    if any(len(c) > 1 for c in counts):
        raise SubjectError(f"{folder}: the .frame files have different numbers of coefficients", hint=COMPLETE)
    return ImportedVideo(
        name=folder.name,
        sources=sources,
        expression=np.stack([c.expression for c in checkpoints]),
        pose=np.stack([c.pose for c in checkpoints]),
        translation=np.zeros((len(checkpoints), 3)),
        camera_from_world=np.stack([c.camera_from_world for c in checkpoints]),
        intrinsics=one_camera(checkpoints),
        held_out=held_out,
    )


def _source(folder: Path, stem: str) -> SourceFrame:
    candidates = [folder / name / f"{stem}{suffix}" for name in PICTURE_FOLDERS for suffix in (".png", ".jpg")]
    image = next((path for path in candidates if path.is_file()), None)
    if image is None:
        raise SubjectError(
            f"the frame {stem} has a checkpoint but no picture: {candidates[0]} does not exist",
            hint="copy the tracker's input/ folder with its checkpoints",
        )
    return SourceFrame(name=stem, image=image, mask=if_there(folder / "mask" / f"{stem}.png"))
