"""8-bit pictures in and out of files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.errors import SubjectError


def read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """A colour picture as sRGB bytes."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_grey(path: Path) -> UInt8[np.ndarray, "H W"]:
    """A one-channel picture (a mask or a label image) as bytes."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def write_png(path: Path, picture: UInt8[np.ndarray, "H W *C"] | UInt16[np.ndarray, "H W *C"]) -> None:
    """Write RGB or one-channel numbers of 8 or 16 bits as PNG; the file is whole or not there."""
    rows = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    # Of rows of differences, long matches are rarely found and long sought: runs alone give smaller files in less time.
    runs = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", rows, runs)
    assert done
    write_bytes_whole(path, data.tobytes())


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SubjectError(f"{path} can't be read: {error.strerror}", hint="check the path") from error
    picture = cv2.imdecode(data, flags) if data.size else None
    if picture is None:
        raise SubjectError(f"{path} is not a picture", hint="run `flare preprocess` again with --overwrite")
    return picture
