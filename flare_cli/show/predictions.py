"""Pictures of everything an avatar predicts for a track, named by frame number, for scorers of other people.

Encodings are in docs/formats.md, "Predictions".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import write_png
from flare_cli.data.json_file import write_json
from flare_cli.errors import EnvmapError
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.light.environment import prefilter
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.envmaps import find_envmap
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
        light = prefilter(torch.from_numpy(load_envmap(path)).to(avatar.device)).scale(2.0**request.exposure)
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


def named_envmaps(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Files (or bundled maps) by the folder names they get. Raises `EnvmapError` where two share one."""
    named: dict[str, Path] = {}
    for path in map(find_envmap, paths):
        if path.stem in named:
            raise EnvmapError(
                f"{path} and {named[path.stem]} have the same name", hint="rename one: pictures go into relit/NAME"
            )
        named[path.stem] = path
    return named


def as_bytes(values: Float[Tensor, "*batch C"]) -> UInt8[np.ndarray, "*batch C"]:
    """0..1 as bytes, linear."""
    return (values.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


def as_words(values: Float[Tensor, "*batch C"]) -> UInt16[np.ndarray, "*batch C"]:
    """0..1 as 16-bit numbers, linear."""
    return (values.clamp(0, 1) * 65535 + 0.5).cpu().numpy().astype(np.uint16)
