"""Linear colour pictures in OpenEXR files, by the package OpenEXR (extra `exr`): OpenCV's wheels lack it."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from flare_cli.data.atomic import replace_whole
from flare_cli.data.native_output import without_lines
from flare_cli.errors import EnvmapError, FileError

MAGIC = b"\x76\x2f\x31\x01"
MOST_PIXELS = 2**27  # those of a 16k environment map, as for the formats that OpenCV reads
# Numbers in a picture per byte of its file, above which a file lies about its size: deflate packs at most 1032 to 1.
MOST_PACKED = 4096
MISSING_HINT = "pip install flare-cli[exr], or use Radiance .hdr"
_OTHER = "save the map as one RGB picture, or as Radiance .hdr"


def exr_package() -> Any:
    """The library that reads and writes them. Raises `EnvmapError` where it is missing."""
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise EnvmapError("OpenEXR files need the package OpenEXR", hint=MISSING_HINT) from error
    return OpenEXR


def read_exr(path: Path) -> Float32[np.ndarray, "H W 3"]:
    """The first part of a file that has red, green and blue, as it is stored: anything a float can be.

    Raises `EnvmapError` where the package is missing, the file is damaged or holds something else.
    """
    openexr = exr_package()
    with _readable(path):
        headers = [part.header for part in openexr.File(str(path), header_only=True).parts]
        of_colours = next((header for header in headers if {*"RGB"} <= _names(header)), None)
        if of_colours is None:
            raise EnvmapError(f"{path} has no channels R, G and B", hint=_OTHER)
        height, width = _size(path, of_colours)
        numbers = sum(_area(header) * len(_names(header)) for header in headers)
        if numbers > MOST_PACKED * path.stat().st_size or height * width > MOST_PIXELS:
            raise EnvmapError(f"{path} is said to be {width} x {height}: too large, or damaged", hint=_OTHER)
        parts = [part.channels for part in openexr.File(str(path), separate_channels=True).parts]
        channels = next((part for part in parts if {*"RGB"} <= set(part)), None)
        if channels is None:  # it leaves out parts that it can't decode
            raise ValueError("pixels are damaged")
        picture = np.stack([np.asarray(channels[name].pixels, np.float32) for name in "RGB"], -1)
    if picture.shape != (height, width, 3):
        raise EnvmapError(f"{path} has channels of less than its size", hint=_OTHER)
    return picture


def write_exr(path: Path, picture: Float32[np.ndarray, "H W 3"]) -> None:
    """Write linear RGB as 32-bit floats, packed without loss; the file is whole or not there."""
    openexr = exr_package()
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with replace_whole(path, keep_suffix=True) as partial:
        try:
            openexr.File(header, {"RGB": np.ascontiguousarray(picture, np.float32)}).write(str(partial))
        except RuntimeError as error:  # it raises nothing more precise
            hint = "free some space, or choose a folder that is yours"
            raise FileError(f"{path} could not be written: {error}", hint=hint) from error


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """What the library says of a damaged file, as one sentence; what it writes to the terminal, not at all."""
    try:
        with without_lines(rb"[^\n]*\(EXR_ERR_"), redirect_stdout(io.StringIO()):
            yield
    # It raises these for damage of all kinds, and no class of its own.
    except (RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise EnvmapError(f"{path} can't be decoded: {error}", hint="save it again, or as Radiance .hdr") from error


def _names(header: dict[str, Any]) -> set[str]:
    return {channel.name for channel in header["channels"]}


def _area(header: dict[str, Any]) -> int:
    (x0, y0), (x1, y1) = (corner.tolist() for corner in header["dataWindow"])
    return max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)


def _size(path: Path, header: dict[str, Any]) -> tuple[int, int]:
    """Height and width. Raises `EnvmapError` where pixels are stored of a part of the picture only."""
    stored, shown = (np.concatenate(header[window]).tolist() for window in ("dataWindow", "displayWindow"))
    if stored != shown:
        raise EnvmapError(f"{path} holds a part of its picture: {stored} of {shown}", hint=_OTHER)
    x0, y0, x1, y1 = stored
    return y1 - y0 + 1, x1 - x0 + 1
