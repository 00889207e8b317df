"""IMavatar, PointAvatar and FLARE data sets (`flame_params.json`), and SPARK's variant (`flame_params_optimized.json`).

World = 4 x metres, OpenGL world-to-camera, intrinsics as fractions of the picture with a negative fx (or, in legacy
files, pixels of a 512 x 512 picture). Each video has its own folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.data.checked import COMPLETE, member, numbers
from flare_cli.datasets.importers.reading import beside, if_there, read_record
from flare_cli.datasets.sequences import ImportedSequences, ImportedVideo, SourceFrame, common_size
from flare_cli.errors import SubjectError
from flare_cli.head.joints import Joint
from flare_cli.render.camera import OPENCV_FROM_OPENGL
from flare_cli.subject.folder import WORLD_UNITS_PER_METRE

LEGACY_SIZE = 512
EVALUATION_WORDS = ("test", "eval", "val")
FILES = {"imavatar": "flame_params.json", "spark": "flame_params_optimized.json"}


def read_imavatar(folder: Path, *, evaluation: tuple[str, ...] = ()) -> ImportedSequences:
    """Read every video under `folder`. `evaluation` names the videos to hold out.

    Without it, videos whose folder (or whose folder's folder) is called test, eval or val are held out.
    """
    return _read(folder, "imavatar", evaluation)


def read_spark(folder: Path, *, evaluation: tuple[str, ...] = ()) -> ImportedSequences:
    """Read SPARK's (MonoFaceCompute's) output: the same keys in another file, and intrinsics per video."""
    return _read(folder, "spark", evaluation)


def video_folders(folder: Path, kind: str) -> list[Path]:
    """The folders with a parameter file: `folder` itself, or those up to three levels below it, by name."""
    name = FILES[kind]
    if (folder / name).is_file():
        return [folder]
    folders = [path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/{name}")]
    return sorted(folders, key=lambda path: path.parts)


def _read(folder: Path, kind: str, evaluation: tuple[str, ...]) -> ImportedSequences:
    folders = video_folders(folder, kind)
    if not folders:
        raise SubjectError(f"there is no {FILES[kind]} under {folder}", hint=COMPLETE)
    names = {path: path.name if path == folder else str(path.relative_to(folder)) for path in folders}
    held_out = _evaluation_folders(folders, names, folder, evaluation)
    folders = sorted(folders, key=lambda path: path in held_out)  # what is trained on comes first
    params = {path: read_record(path / FILES[kind]) for path in folders}
    sources = {path: _sources(path, params[path], FILES[kind]) for path in folders}
    height, width = common_size([s.image for path in folders for s in sources[path]])
    videos = [
        _video(path, names[path], params[path], sources[path], FILES[kind], (height, width), path in held_out)
        for path in folders
    ]
    shapes = [numbers(member(params[p], "shape_params", p / FILES[kind]), (None,), p, "shape_params") for p in folders]
    training = [i for i, path in enumerate(folders) if path not in held_out] or [len(folders) - 1]
    shape, notes = shapes[training[-1]], []
    if any(s.shape != shape.shape or not np.array_equal(s, shape) for s in shapes):
        notes.append(
            f"shape_params differ between videos: those of {names[folders[training[-1]]]} are used, as in FLARE"
        )
    if len(folders) > 1 and not held_out:
        notes.append("no video is held out: name one with --eval-video, or put it into a folder called test")
    return ImportedSequences(
        format=kind,
        folder=folder,
        heads=("flame-2020",),
        shape=shape,
        videos=tuple(videos),
        height=height,
        width=width,
        split=bool(held_out),
        notes=tuple(notes),
    )


def _evaluation_folders(
    folders: list[Path], names: dict[Path, str], folder: Path, evaluation: tuple[str, ...]
) -> set[Path]:
    unknown = [name for name in evaluation if not any(name in (names[p], p.name) for p in folders)]
    if unknown:
        raise SubjectError(
            f"{folder} has no video called {unknown[0]!r}", hint=f"its videos are {', '.join(names.values())}"
        )
    if evaluation:
        chosen = {p for p in folders if names[p] in evaluation or p.name in evaluation}
    else:
        chosen = {p for p in folders if p != folder and set(p.relative_to(folder).parts) & set(EVALUATION_WORDS)}
    if len(chosen) == len(folders):
        raise SubjectError(f"every video of {folder} is held out", hint="leave one for training (--eval-video)")
    return chosen


def _sources(folder: Path, params: dict[str, Any], file: str) -> list[SourceFrame]:
    frames = member(params, "frames", folder / file)
    if not isinstance(frames, list) or not frames:
        raise SubjectError(f"{folder / file}: frames is empty or not a list", hint=COMPLETE)
    sources: list[SourceFrame] = []
    for i, frame in enumerate(frames):
        listed = str(member(frame, "file_path", f"{folder / file}, frame {i}"))
        image = beside(folder, listed)
        sources.append(
            SourceFrame(
                name=image.stem,
                image=image,
                mask=if_there(folder / "mask" / f"{image.stem}.png"),
                label=if_there(folder / "semantic" / f"{image.stem}.png"),
            )
        )
    return sources


def _video(
    folder: Path,
    name: str,
    params: dict[str, Any],
    sources: list[SourceFrame],
    file: str,
    size: tuple[int, int],
    held_out: bool,
) -> ImportedVideo:
    frames = params["frames"]
    frame_names = [f"{folder / file}, frame {i} ({source.name})" for i, source in enumerate(sources)]

    def stacked(key: str, shape: tuple[int | None, ...]) -> Float[np.ndarray, "N ..."]:
        return np.stack(
            [numbers(member(f, key, name), shape, name, key) for f, name in zip(frames, frame_names, strict=True)]
        )

    n_expression = len(member(frames[0], "expression", frame_names[0]))
    views = stacked("world_mat", (None, 4))[:, :3]
    if views.shape[1] != 3:
        raise SubjectError(f"{folder / file}: world_mat has {views.shape[1]} rows, expected 3 or 4", hint=COMPLETE)
    views = OPENCV_FROM_OPENGL @ views
    views[..., 3] /= WORLD_UNITS_PER_METRE
    return ImportedVideo(
        name=name,
        sources=tuple(sources),
        expression=stacked("expression", (n_expression,)),
        pose=stacked("pose", (3 * len(Joint),)).reshape(-1, len(Joint), 3),
        translation=np.zeros((len(frames), 3)),
        camera_from_world=views,
        intrinsics=_intrinsics(numbers(member(params, "intrinsics", folder / file), (4,), file, "intrinsics"), size),
        held_out=np.full(len(frames), held_out),
        keypoints=_keypoints(folder / "keypoint.json", sources),
    )


def _intrinsics(stored: Float[np.ndarray, "4"], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    height, width = size
    fractions = np.abs(stored) / LEGACY_SIZE if stored[3] > 1 else np.abs(stored)
    return fractions * np.array([width, height, width, height])


def _keypoints(path: Path, sources: list[SourceFrame]) -> Float[np.ndarray, "N 68 2"] | None:
    """What DECA's detector found, if the intermediate file is still there; NaN where it found nothing."""
    if not path.is_file():
        return None
    detected = read_record(path)
    missing = np.full((68, 2), np.nan)
    rows = [detected.get(source.image.name) for source in sources]
    return np.stack(
        [missing if r is None else numbers(r, (68, 2), path, s.name) for r, s in zip(rows, sources, strict=True)]
    )
