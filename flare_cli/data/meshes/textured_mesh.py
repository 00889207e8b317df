"""A textured triangle mesh as plain numbers: what the OBJ and GLB writers take."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from flare_cli.data.atomic import write_bytes_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class TexturedMesh:
    """Positions in metres, +y up, front +z; `uv` with v up. `uv_faces` has the face order of `faces`."""

    positions: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "T 2"]
    uv_faces: Int[np.ndarray, "F 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PbrTextures:
    """8-bit pictures, row 0 at v = 1: albedo in sRGB, the others linear.

    `occlusion` is the part of even light that arrives: 255 where nothing is in the way. `normal` is what a finer mesh
    shows, in the frames of this one (`tangents.py`); green is up.
    """

    albedo: UInt8[np.ndarray, "H W 3"]
    roughness: UInt8[np.ndarray, "H W"]
    specular: UInt8[np.ndarray, "H W"] | None = None
    occlusion: UInt8[np.ndarray, "H W"] | None = None
    normal: UInt8[np.ndarray, "H W 3"] | None = None

    def smaller(self, factor: int) -> PbrTextures:
        """The same, each edge divided: a texel is the mean of those that it stands for."""
        return PbrTextures(**{name: divided(picture, factor) for name, picture in self.pictures().items()})

    def pictures(self) -> dict[str, UInt8[np.ndarray, "H W *C"]]:
        """Those that there are, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: picture for name, picture in named.items() if picture is not None}


def divided(picture: UInt8[np.ndarray, "H W *C"], factor: int) -> UInt8[np.ndarray, "h w *C"]:
    """A picture of edges divided by `factor`: a texel is the mean of those that it stands for."""
    height, width = picture.shape[:2]
    size = max(width // factor, 1), max(height // factor, 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, slots=True)
class SeamSplit:
    """A mesh with one index per corner: vertex i has position `position[i]` and texture coordinate `uv[i]`."""

    faces: Int[np.ndarray, "F 3"]
    position: Int[np.ndarray, " N"]
    uv: Int[np.ndarray, " N"]


def split_at_seams(faces: Int[np.ndarray, "F 3"], uv_faces: Int[np.ndarray, "F 3"]) -> SeamSplit:
    """Give each pair of position and texture coordinate in use its own vertex."""
    pairs = np.stack([faces.reshape(-1), uv_faces.reshape(-1)], 1).astype(np.int64)
    unique, corner = np.unique(pairs, axis=0, return_inverse=True)
    return SeamSplit(corner.reshape(-1, 3), unique[:, 0], unique[:, 1])


def write_textures(folder: Path, name: str, textures: PbrTextures) -> dict[str, Path]:
    """Write each texture as a PNG named after avatar and texture (`me_albedo.png`); the files by texture."""
    files = {kind: folder / f"{name}_{kind}.png" for kind in textures.pictures()}
    for kind, file in files.items():
        write_bytes_whole(file, png(textures.pictures()[kind]))
    return files


def png(picture: UInt8[np.ndarray, "H W *C"]) -> bytes:
    """A grey, RGB or RGBA picture as a PNG file."""
    return _encoded(".png", picture, [])


def jpeg(picture: UInt8[np.ndarray, "H W *C"], quality: int) -> bytes:
    """A grey or RGB picture as a JPEG file whose colours are as fine as its brightness."""
    full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full])


def webp(picture: UInt8[np.ndarray, "H W *C"], quality: int) -> bytes:
    """A grey, RGB or RGBA picture as a lossy WebP file; alpha is lossless."""
    return _encoded(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])


def _encoded(suffix: str, picture: UInt8[np.ndarray, "H W *C"], options: list[int]) -> bytes:
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, data = cv2.imencode(suffix, picture, options)
    assert done
    return data.tobytes()
