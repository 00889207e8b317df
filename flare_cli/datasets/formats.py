"""Which program made a data set, and reading it with the right importer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_cli.datasets.importers.gaussian_avatars import read_gaussian_avatars
from flare_cli.datasets.importers.imavatar import read_imavatar, read_spark, video_folders
from flare_cli.datasets.importers.insta import read_insta
from flare_cli.datasets.importers.metrical_tracker import checkpoint_files, read_metrical_tracker
from flare_cli.datasets.importers.neural_head_avatars import parameter_file, read_neural_head_avatars
from flare_cli.datasets.importers.reading import read_record
from flare_cli.datasets.sequences import ImportedSequences
from flare_cli.errors import SubjectError


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of data set: how it is recognised, and who reads it. `looks_for` is for people."""

    name: str
    looks_for: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], ImportedSequences]


def _first_frame(folder: Path) -> dict[str, Any]:
    """The first frame of the first transforms file, or nothing: recognising a format never fails."""
    for path in sorted(folder.glob("transforms*.json")):
        try:
            frames = read_record(path).get("frames")
        except SubjectError:
            continue
        if isinstance(frames, list) and frames and isinstance(frames[0], dict):
            return frames[0]
    return {}


# In order: an INSTA folder may hold metrical-tracker's checkpoints as well.
FORMATS: tuple[Format, ...] = (
    Format(
        "gaussian-avatars",
        "transforms*.json with flame_param_path (VHAP's export)",
        lambda folder: "flame_param_path" in _first_frame(folder),
        read_gaussian_avatars,
    ),
    Format(
        "insta",
        "transforms.json with exp_path or mesh_path",
        lambda folder: bool({"exp_path", "mesh_path"} & set(_first_frame(folder))),
        read_insta,
    ),
    Format(
        "neural-head-avatars",
        "tracking_*/tracked_flame_params.npz and frame_* folders",
        lambda folder: parameter_file(folder) is not None,
        read_neural_head_avatars,
    ),
    Format(
        "metrical-tracker",
        "checkpoint/*.frame",
        lambda folder: bool(checkpoint_files(folder)),
        read_metrical_tracker,
    ),
    Format(
        "spark",
        "flame_params_optimized.json in a folder per video",
        lambda folder: bool(video_folders(folder, "spark")),
        read_spark,
    ),
    Format(
        "imavatar",
        "flame_params.json in a folder per video (IMavatar, PointAvatar, FLARE)",
        lambda folder: bool(video_folders(folder, "imavatar")),
        read_imavatar,
    ),
)


def read_dataset(
    folder: Path, *, format_name: str | None = None, evaluation: tuple[str, ...] = ()
) -> ImportedSequences:
    """Read a data set, of the named format or of whatever it looks like.

    Raises `SubjectError` where the format is unknown, or the data set is damaged.
    """
    if not folder.is_dir():
        raise SubjectError(f"{folder} is not a folder", hint="name the folder of a data set")
    chosen = _named(format_name) if format_name is not None else _recognised(folder)
    try:
        return _read(chosen, folder, evaluation)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SubjectError(
            f"{folder} is not built like a {chosen.name} data set: {error!r}",
            hint="check that its files are whole, or name another --format",
        ) from error


def _read(chosen: Format, folder: Path, evaluation: tuple[str, ...]) -> ImportedSequences:
    if chosen.read in (read_imavatar, read_spark):
        read = read_imavatar if chosen.read is read_imavatar else read_spark
        return read(folder, evaluation=evaluation)
    if evaluation:
        raise SubjectError(
            f"--eval-video is for data sets of several videos, {folder} is {chosen.name}",
            hint="leave it out: this format has its own split",
        )
    return chosen.read(folder)


def _named(name: str) -> Format:
    for known in FORMATS:
        if known.name == name:
            return known
    raise SubjectError(f"{name!r} is not a format", hint=f"use one of {', '.join(f.name for f in FORMATS)}")


def _recognised(folder: Path) -> Format:
    if (folder / "flare.json").is_file():
        raise SubjectError(f"{folder} is a subject already", hint="fit it with `flare fit`")
    for known in FORMATS:
        if known.recognises(folder):
            return known
    sought = "; ".join(f"{f.name}: {f.looks_for}" for f in FORMATS)
    raise SubjectError(f"{folder} is not a data set of a known format", hint=f"looked for {sought}")
