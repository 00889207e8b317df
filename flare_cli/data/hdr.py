"""Environment maps: linear equirectangular pictures in Radiance .hdr files, or in OpenEXR files (`exr.py`)."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.exr import MAGIC, read_exr
from flare_cli.errors import EnvmapError

_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
BRIGHTEST = 1e12  # the sun's disc is 1e9 times as bright as what it lights; sums of more overflow
_HEADER = 1 << 14  # bytes in which a Radiance file's header has to end; real ones take a few hundred


def load_envmap(path: Path) -> Float32[np.ndarray, "H W 3"]:
    """Read linear radiance (H, 2H, 3), RGB, row 0 up. What a file is, its first bytes say, not its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EnvmapError(
            f"{path} can't be read: {error.strerror}", hint="check the path of the environment map"
        ) from error
    return _checked(str(path), read_exr(path)) if data.startswith(MAGIC) else parse_radiance(data, str(path))


def parse_radiance(data: bytes, name: str) -> Float32[np.ndarray, "H W 3"]:
    """The same of a Radiance file's bytes; `name` is what messages call it."""
    if not data.startswith(_RADIANCE):
        raise _not_hdr(name)
    picture = _decoded(data)
    if picture is None:
        raise EnvmapError(f"{name} can't be decoded: the file is damaged", hint="save it again and try again")
    return _checked(name, picture)


def radiance_size(data: bytes, name: str) -> tuple[int, int]:
    """The (height, width) that a Radiance file says it has, before any room is made for it. Raises `EnvmapError`."""
    # Where OpenCV finds it: in the line after the first empty one.
    said = re.match(rb"[-+]Y +(\d{1,6}) +[-+]X +(\d{1,6})\n", data[:_HEADER].partition(b"\n\n")[2])
    if not data.startswith(_RADIANCE) or said is None:
        raise _not_hdr(name)
    return int(said[1]), int(said[2])


def save_hdr(path: Path, picture: Float32[np.ndarray, "H W 3"]) -> None:
    """Write linear RGB as Radiance .hdr (8-bit mantissas: relative error below 1 %); the file is whole or not there."""
    done, data = cv2.imencode(".hdr", np.ascontiguousarray(picture[..., ::-1], dtype=np.float32))
    assert done
    write_bytes_whole(path, data.tobytes())


def _not_hdr(name: str) -> EnvmapError:
    return EnvmapError(
        f"{name} is not an HDR picture",
        hint="give an equirectangular .hdr or .exr file; an ordinary picture lacks the brightness of lamps and sky",
    )


def _decoded(data: bytes) -> np.ndarray | None:
    """RGB, or None of what is damaged."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # also where it says that it has more pixels than OpenCV makes room for
        return None
    return picture[..., 2::-1] if picture is not None and picture.ndim == 3 else picture


def _checked(name: str, picture: np.ndarray) -> Float32[np.ndarray, "H W 3"]:
    if picture.dtype != np.float32 or picture.ndim != 3 or picture.shape[2] != 3:
        raise EnvmapError(f"{name} is not a colour HDR picture", hint="give an RGB equirectangular .hdr or .exr file")
    height, width = picture.shape[:2]
    if width != 2 * height:
        raise EnvmapError(
            f"{name} is {width} x {height}, not twice as wide as high",
            hint="give an equirectangular (latitude-longitude) map, not a cube map or light probe",
        )
    if not np.isfinite(picture).all() or picture.min() < 0 or picture.max() > BRIGHTEST:
        raise EnvmapError(
            f"{name} holds negative or not finite radiance, or more than {BRIGHTEST:.0e}",
            hint="export the map again, clamped to finite values >= 0",
        )
    return np.ascontiguousarray(picture)
