"""Reading values out of other programs' files with errors that name file, key, shape and frame."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.data.json_file import read_json
from flare_cli.errors import SubjectError

LARGEST = 1e6  # far beyond pixels, metres, radians and coefficients
HINT = "check that the data set is complete and of the format it is read as (--format)"


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `SubjectError` saying why not."""
    return read_json(path, hint=HINT)


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an `.npz`; pickled ones are refused. Raises `SubjectError` saying why not."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise SubjectError(f"{path} is missing", hint=HINT) from None
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise SubjectError(f"{path} is not an .npz of plain arrays: {error}", hint=HINT) from error


def member(record: Any, key: str, where: object) -> Any:
    """`record[key]`, or a `SubjectError` that names the key and what there is."""
    if not isinstance(record, dict):
        raise SubjectError(f"{where}: expected an object with {key!r}, found {type(record).__name__}", hint=HINT)
    if key not in record:
        present = ", ".join(sorted(map(str, record))[:12]) or "nothing"
        raise SubjectError(f"{where}: the key {key!r} is missing (there is: {present})", hint=HINT)
    return record[key]


def numbers(value: Any, shape: tuple[int | None, ...], where: object, name: str) -> Float[np.ndarray, "..."]:
    """Finite float64 numbers of a shape (None: any length). Raises `SubjectError` naming file, key and shape."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise SubjectError(f"{where}: {name} is not an array of numbers: {error}", hint=HINT) from error
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        given = " x ".join(map(str, array.shape)) or "a single number"
        raise SubjectError(f"{where}: {name} has the shape {given}, expected {wanted}", hint=HINT)
    if not np.isfinite(array).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SubjectError(f"{where}: {name} is not finite (NaN or infinite) at {list(position)}", hint=HINT)
    if array.size and np.abs(array).max() > LARGEST:
        raise SubjectError(f"{where}: {name} holds {np.abs(array).max():.3g}, which nothing here can be", hint=HINT)
    return array


def same_count(counts: dict[str, int], where: object) -> None:
    """Raise `SubjectError` if the arrays of one track speak of different numbers of frames."""
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SubjectError(f"{where}: unequal frame counts: {listed}", hint=HINT)


def beside(folder: Path, listed: str, suffix: str = ".png") -> Path:
    """The file that a data set lists relative to its folder; formats that leave the suffix out get `suffix`."""
    path = folder / listed
    return path if path.suffix.lower() in (".png", ".jpg", ".jpeg") else path.with_name(path.name + suffix)


def if_there(path: Path) -> Path | None:
    """The path if there is such a file."""
    return path if path.is_file() else None
