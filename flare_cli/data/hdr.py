"""Environment maps: linear equirectangular pictures in Radiance .hdr files, or in OpenEXR files (`exr.py`)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.exr import MAGIC, read_exr
from flare_cli.errors import EnvmapError

_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
BRIGHTEST = 1e12  # the sun's disc is 1e9 times as bright as what it lights; sums of more overflow


def load_envmap(path: Path) -> Float32[np.ndarray, "H W 3"]:
    """Read linear radiance (H, 2H, 3), RGB, row 0 up. What a file is, its first bytes say, not its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EnvmapError(
            f"{path} can't be read: {error.strerror}", hint="check the path of the environment map"
        ) from error
    if data.startswith(MAGIC):
        return _checked(path, read_exr(path))
    if not data.startswith(_RADIANCE):
        raise EnvmapError(
            f"{path} is not an HDR picture",
            hint="give an equirectangular .hdr or .exr file; an ordinary picture lacks the brightness of lamps and sky",
        )
    picture = _decoded(data)
    if picture is None:
        raise EnvmapError(f"{path} can't be decoded: the file is damaged", hint="save it again and try again")
    return _checked(path, picture)


def save_hdr(path: Path, picture: Float32[np.ndarray, "H W 3"]) -> None:
    """Write linear RGB as Radiance .hdr (8-bit mantissas: relative error below 1 %); the file is whole or not there."""
    done, data = cv2.imencode(".hdr", np.ascontiguousarray(picture[..., ::-1], dtype=np.float32))
    assert done
    write_bytes_whole(path, data.tobytes())


def _decoded(data: bytes) -> np.ndarray | None:
    """RGB, or None of what is damaged."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # also where it says that it has more pixels than OpenCV makes room for
        return None
    return picture[..., 2::-1] if picture is not None and picture.ndim == 3 else picture


def _checked(path: Path, picture: np.ndarray) -> Float32[np.ndarray, "H W 3"]:
    if picture.dtype != np.float32 or picture.ndim != 3 or picture.shape[2] != 3:
        raise EnvmapError(f"{path} is not a colour HDR picture", hint="give an RGB equirectangular .hdr or .exr file")
    height, width = picture.shape[:2]
    if width != 2 * height:
        raise EnvmapError(
            f"{path} is {width} x {height}, not twice as wide as high",
            hint="give an equirectangular (latitude-longitude) map, not a cube map or light probe",
        )
    if not np.isfinite(picture).all() or picture.min() < 0 or picture.max() > BRIGHTEST:
        raise EnvmapError(
            f"{path} holds negative or not finite radiance, or more than {BRIGHTEST:.0e}",
            hint="export the map again, clamped to finite values >= 0",
        )
    return np.ascontiguousarray(picture)
