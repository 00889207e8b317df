"""Arrays in `.npz` files, read with errors for people: nothing pickled, nothing larger than the file says."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from flare_cli.errors import FlareError

MAX_BYTES = 1 << 30
# What zipfile, its codecs and numpy raise of a damaged archive.
DAMAGED_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, OSError),
    *(ValueError, KeyError, NotImplementedError, RuntimeError, SyntaxError, MemoryError),
)


def read_npz(
    path: Path, *, error: type[FlareError], hint: str, most: int = MAX_BYTES
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """All arrays of a file, or one `error` with this `hint` that says why not. `most` is how many bytes they may be."""
    if not path.is_file():
        raise error(f"{path} can't be read: it is missing", hint=hint)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > most:
                raise ValueError(f"it unpacks to more than {most} bytes")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except DAMAGED_ARCHIVE as reason:
        raise error(f"{path} can't be read as an .npz of plain arrays: {reason}", hint=hint) from reason


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Shaped[np.ndarray, "..."]:
    """One array, if it says of itself that it is as large as what there is: numpy makes room for it before it reads."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"it says that it holds an array of shape {shape}, and is cut off or damaged")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
