"""Pictures of everything that is predicted for a track, named by frame number: for other people's scorers, and theirs.

Encodings are in docs/formats.md, "Predictions".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_numbers, write_png
from flare_cli.data.json_file import write_json
from flare_cli.errors import SubjectError
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.envmaps import named_envmaps
from flare_cli.show.predicted import Prediction
from flare_cli.show.track_pictures import draw_track, to_bytes
from flare_cli.subject.track import Track

VERSION = 1
ENCODINGS = {
    "colour": "8-bit sRGB under the fitted light, over black",
    "mask": "8-bit coverage, linear",
    "albedo": "8-bit sRGB of the linear albedo, 0 outside",
    "material": "8-bit linear: red roughness, green specular intensity, blue 0; 0 outside",
    "normal": "16-bit: (n + 1) / 2 of the unit normal in world axes (x left of the subject, y up, z ahead); 0 outside",
    "relit": "8-bit sRGB under the environment map times 2^exposure, over black",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsRequest:
    """Where the pictures go, and the environment maps to relight by. `exposure` in stops; 0 takes maps as they are."""

    folder: Path
    envmaps: tuple[Path, ...] = ()
    exposure: float = 0.0


def write_predictions(
    request: PredictionsRequest, avatar: Avatar, track: Track, rasterizer: Rasterizer, progress: ProgressCallback
) -> None:
    """Write `<kind>/<frame>.png` for every frame of `track`, at the size of its cameras, and `predictions.json`."""
    envmaps = named_envmaps(request.envmaps)
    numbers = track.frames.tolist()
    folder = request.folder
    for drawn in draw_track(avatar, track, rasterizer):
        picture = drawn.picture
        material = torch.cat([picture.material.roughness, picture.material.specular], 1)
        kinds = {
            "colour": to_bytes(picture.colour),
            "mask": as_bytes(picture.coverage)[..., 0],
            "albedo": to_bytes(picture.buffer(picture.material.albedo)),
            "material": as_bytes(picture.buffer(torch.nn.functional.pad(material, (0, 1)))),
            "normal": as_words(picture.buffer(0.5 + 0.5 * picture.surface.normal)),
        }
        for name, pictures in kinds.items():
            for i, one in enumerate(pictures):
                write_png(folder / name / f"{numbers[drawn.start + i]}.png", one)
        progress("predictions", drawn.start + len(picture.colour), len(track))
    for name, path in envmaps.items():
        envmap = torch.from_numpy(load_envmap(path)).to(avatar.device)
        light = avatar.light.of_environment(envmap).scale(2.0**request.exposure)
        for drawn in draw_track(avatar, track, rasterizer, light=light):
            for i, one in enumerate(to_bytes(drawn.picture.colour)):
                write_png(folder / "relit" / name / f"{numbers[drawn.start + i]}.png", one)
            progress(f"relit by {name}", drawn.start + len(drawn.picture.colour), len(track))
    cameras = track.cameras()
    index = {
        "version": VERSION,
        "frames": numbers,
        "size": [cameras.height, cameras.width],
        "encodings": ENCODINGS,
        "envmaps": {name: str(path) for name, path in envmaps.items()},
        "exposure": request.exposure,
        "camera_from_world": cameras.camera_from_world.double().tolist(),
        "intrinsics": cameras.intrinsics.double().tolist(),
    }
    write_json(folder / "predictions.json", index)


def predicted_frames(folder: Path, numbers: list[int]) -> list[int]:
    """Those of the frames that a folder of predictions holds. Raises `SubjectError` if it holds none."""
    held = [number for number in numbers if (folder / "mask" / f"{number}.png").is_file()]
    if not held:
        raise SubjectError(
            f"{folder} holds no prediction of a frame with truth: there is no mask/{numbers[0]}.png",
            hint="write pictures as docs/formats.md says under Predictions, named by the subject's frame numbers",
        )
    return held


def read_predictions(folder: Path, track: Track, lights: Collection[str], device: torch.device | str) -> Prediction:
    """The pictures in `folder` of the frames of `track`, as large as its own; of relit ones those under `lights`.

    `mask` has to be there, and of every other kind either all frames or none. Raises `SubjectError` otherwise.
    """
    rotation = track.camera.camera_from_world[0, :, :3].to(device)

    def read(kind: str) -> Float[Tensor, "N H W *C"] | None:
        if not (folder / kind).is_dir():
            return None
        pictures = [_read(folder / kind / f"{number}.png", track) for number in track.frames.tolist()]
        return torch.from_numpy(np.stack(pictures)).to(device)

    def decoded(kind: str) -> Float[Tensor, "N H W 3"] | None:
        encoded = read(kind)
        return None if encoded is None else linear_from_srgb(encoded)

    mask, material, normal = read("mask"), read("material"), read("normal")
    assert mask is not None
    if normal is not None:
        inside = (normal > 0).any(-1, keepdim=True)
        normal = torch.where(inside, torch.nn.functional.normalize(2 * normal - 1, dim=-1) @ rotation.T, 0.0)
    relit = {name: picture for name in lights if (picture := decoded(f"relit/{name}")) is not None}
    return Prediction(
        coverage=mask,
        colour=decoded("colour"),
        albedo=decoded("albedo"),
        roughness=None if material is None else material[..., 0],
        normal=normal,
        relit=relit,
    )


def _read(path: Path, track: Track) -> Float[np.ndarray, "H W *C"]:
    """A picture as 0..1, at the size of the track's."""
    numbers = read_numbers(path)
    picture = numbers.astype(np.float32) / np.iinfo(numbers.dtype).max
    size = (track.camera.width, track.camera.height)
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if picture.shape[0] > size[1] else cv2.INTER_LINEAR)


def as_bytes(values: Float[Tensor, "*batch C"]) -> UInt8[np.ndarray, "*batch C"]:
    """0..1 as bytes, linear."""
    return (values.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


def as_words(values: Float[Tensor, "*batch C"]) -> UInt16[np.ndarray, "*batch C"]:
    """0..1 as 16-bit numbers, linear."""
    return (values.clamp(0, 1) * 65535 + 0.5).cpu().numpy().astype(np.uint16)
