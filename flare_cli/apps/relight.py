"""`flare relight`: the avatar under another light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from flare_cli.data.hdr import load_envmap
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import DRAW_SMALLER, gpu_memory
from flare_cli.render.light.environment import prefilter
from flare_cli.show.envmaps import automatic_exposure, find_envmap
from flare_cli.show.output import open_output
from flare_cli.show.track_pictures import draw_track

RAYS = 256  # a vertex and frame, over the sphere: as the fit's default


@dataclass(frozen=True, slots=True, kw_only=True)
class RelightRequest:
    """What `flare relight` was asked. `exposure` None scales the light so that its mean over all directions is 1.

    `quality` "high" traces shadows in every frame, where the avatar's light is explicit.
    """

    envmap: Path
    out: Path
    run: Path | None = None
    exposure: float | None = None
    yaw_degrees: float = 0.0
    turn_light: bool = False
    background: bool = True
    quality: Literal["normal", "high"] = "normal"
    frames: int | None = None
    size: int | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelightResult:
    """Where the pictures went; `exposure` is the factor (in stops) that was applied to the map."""

    run: Path
    out: Path
    frames: int
    exposure: float


@gpu_memory(DRAW_SMALLER)
def relight(request: RelightRequest, progress: ProgressCallback) -> RelightResult:
    """Draw the subject's own performance under an environment map."""
    device = choose_device(request.device)
    envmap = torch.from_numpy(load_envmap(find_envmap(request.envmap)))
    run = load_run(request.run or newest_run(), device, rasterizer=request.rasterizer)
    stops = automatic_exposure(envmap) if request.exposure is None else request.exposure
    envmap, yaw = (envmap * 2.0**stops).to(device), math.radians(request.yaw_degrees)
    light = run.avatar.light.of_environment(envmap).rotate(yaw)
    behind = prefilter(envmap).rotate(yaw) if request.background else None
    track = run.subject().track
    track = track if request.frames is None else track[: request.frames]
    size = request.size or run.config.data.size
    height, width = size, round(track.camera.width * size / track.camera.height)
    rays = RAYS if request.quality == "high" else 0
    turns = torch.linspace(0, 2 * math.pi, len(track) + 1)[:-1]
    rasterizer = run.rasterizer()
    with open_output(request.out, track.fps) as output:
        for shot in track.resized(height, width).to(device).shots():
            turned = turns[output.count : output.count + len(shot)] if request.turn_light else None
            for drawn in draw_track(run.avatar, shot, rasterizer, light=light, behind=behind, turned=turned, rays=rays):
                output.add(drawn.picture.colour)
                progress("relight", output.count, len(track))
    return RelightResult(run=run.folder, out=request.out, frames=len(track), exposure=stops)
