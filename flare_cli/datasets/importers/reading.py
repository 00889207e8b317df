"""Reading values out of other programs' files with errors that name file, key, shape and frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_cli.data.array_file import read_npz
from flare_cli.data.checked import COMPLETE
from flare_cli.data.json_file import read_json
from flare_cli.errors import SubjectError


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `SubjectError` saying why not."""
    return read_json(path, hint=COMPLETE)


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an `.npz`; pickled ones are refused. Raises `SubjectError` saying why not."""
    return read_npz(path, error=SubjectError, hint=COMPLETE)


def same_count(counts: dict[str, int], where: object) -> None:
    """Raise `SubjectError` if the arrays of one track speak of different numbers of frames."""
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SubjectError(f"{where}: unequal frame counts: {listed}", hint=COMPLETE)


def beside(folder: Path, listed: str, suffix: str = ".png") -> Path:
    """The file that a data set lists relative to its folder; formats that leave the suffix out get `suffix`."""
    path = folder / listed
    return path if path.suffix.lower() in (".png", ".jpg", ".jpeg") else path.with_name(path.name + suffix)


def if_there(path: Path) -> Path | None:
    """The path if there is such a file."""
    return path if path.is_file() else None
