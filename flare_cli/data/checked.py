"""Values out of files that others may have written, checked where they come in; errors name file, key and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.errors import SubjectError

LARGEST = 1e6  # far beyond pixels, metres, radians and coefficients
COMPLETE = "check that the data set is complete and of the format it is read as (--format)"


def member(record: Any, key: str, where: object, *, hint: str = COMPLETE) -> Any:
    """`record[key]`, or a `SubjectError` that names the key and what there is."""
    if not isinstance(record, dict):
        raise SubjectError(f"{where}: expected an object with {key!r}, found {type(record).__name__}", hint=hint)
    if key not in record:
        present = ", ".join(sorted(map(str, record))[:12]) or "nothing"
        raise SubjectError(f"{where}: the key {key!r} is missing (there is: {present})", hint=hint)
    return record[key]


def numbers(
    value: Any, shape: tuple[int | None, ...], where: object, name: str, *, hint: str = COMPLETE
) -> Float[np.ndarray, "..."]:
    """Finite float64 numbers of a shape (None: any length). Raises `SubjectError` naming file, key and shape."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SubjectError(f"{where}: {name} is not an array of numbers: {error}", hint=hint) from error
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        given = " x ".join(map(str, array.shape)) or "a single number"
        raise SubjectError(f"{where}: {name} has the shape {given}, expected {wanted}", hint=hint)
    if not np.isfinite(array).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SubjectError(f"{where}: {name} is not finite (NaN or infinite) at {list(position)}", hint=hint)
    if array.size and np.abs(array).max() > LARGEST:
        raise SubjectError(f"{where}: {name} holds {np.abs(array).max():.3g}, which nothing here can be", hint=hint)
    return array
