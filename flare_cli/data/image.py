"""8-bit pictures in and out of files."""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.native_output import without_lines
from flare_cli.errors import SubjectError

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_EDGE = 16384  # pixels
# OpenCV's name for it is as young as 4.12; versions before leave out what they don't know, and are slower by a half.
IMWRITE_PNG_FILTER, NO_FILTER, FILTER_UP = 19, 8, 32
# Parts of a PNG of which libpng has nothing to say when they are whole.
UNREMARKABLE = (b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"tEXt", b"tIME", b"IDAT", b"IEND")
# Linear light of each byte of sRGB (IEC 61966-2-1), 0..1, for those that work without torch.
LINEAR_OF_BYTE = np.where(
    np.arange(256) <= 0.04045 * 255, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
)


def read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """A colour picture as sRGB bytes."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_grey(path: Path) -> UInt8[np.ndarray, "H W"]:
    """A one-channel picture (a mask or a label image) as bytes."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def read_numbers(path: Path) -> UInt8[np.ndarray, "H W *C"] | UInt16[np.ndarray, "H W *C"]:
    """The numbers of a picture as they are stored, of 8 or 16 bits; three channels are RGB."""
    picture = _read(path, cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 and picture.shape[2] == 3 else picture


def write_png(path: Path, picture: UInt8[np.ndarray, "H W *C"] | UInt16[np.ndarray, "H W *C"]) -> None:
    """Write RGB, RGBA or one-channel numbers of 8 or 16 bits as PNG; the file is whole or not there."""
    to_file_order = cv2.COLOR_RGBA2BGRA if picture.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    rows = cv2.cvtColor(picture, to_file_order) if picture.ndim == 3 else picture
    # Of rows of differences, long matches are rarely found and long sought: runs alone give smaller files in less time.
    # Differences from the row above take half the time of the best ones of each row, for an eighth more bytes; masks
    # and labels are even areas already (docs/experiments.md, "A minute of 1080p").
    differences = NO_FILTER if picture.ndim == 2 and picture.dtype == np.uint8 else FILTER_UP
    runs = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", rows, [*runs, IMWRITE_PNG_FILTER, differences])
    assert done
    write_bytes_whole(path, data.tobytes())


def decoded(data: bytes, flags: int) -> np.ndarray | None:
    """OpenCV's reading of a picture file, or None if it is none or is too large; `flags` are `cv2.IMREAD_*`."""
    if not data:
        return None
    try:
        with without_lines(rb"libpng (?:error|warning): ") if _is_remarkable(data) else nullcontext():
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # it says that it has more pixels than OpenCV makes room for
        return None


def _is_remarkable(data: bytes) -> bool:
    """Whether libpng may write to the terminal of this: a PNG that is damaged, or has parts that are often wrong."""
    if not data.startswith(PNG):
        return False
    start = len(PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        kind = data[start + 4 : start + 8]
        crc = zlib.crc32(memoryview(data)[start + 4 : end - 4])
        if kind not in UNREMARKABLE or data[end - 4 : end] != crc.to_bytes(4, "big"):
            return True
        if kind == b"IEND":
            return False
        start = end
    return True


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        picture = decoded(path.read_bytes(), flags)
    except OSError as error:
        raise SubjectError(f"{path} can't be read: {error.strerror}", hint="check the path") from error
    if picture is None:
        raise SubjectError(f"{path} is not a picture", hint="run `flare preprocess` again with --overwrite")
    return picture
