"""`flare relight`: the subject's own performance under other lights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import DRAW_SMALLER, gpu_memory
from flare_cli.show.filming.film import Film, shoot
from flare_cli.show.filming.lighting import LIGHT_OF_THE_RECORDING, Lighting, environments
from flare_cli.show.filming.performance import recorded_performance

ENVMAP = Path("studio")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelightRequest:
    """What `flare relight` was asked. Where no light is named, it is the map `ENVMAP`."""

    film: Film
    lighting: Lighting = LIGHT_OF_THE_RECORDING
    run: Path | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelightResult:
    """Where the pictures went; `exposure` is the factor (in stops) that was applied to each map."""

    run: Path
    files: list[Path]
    frames: int
    exposure: dict[str, float]


@gpu_memory(DRAW_SMALLER)
def relight(request: RelightRequest, progress: ProgressCallback) -> RelightResult:
    """Draw the subject's own performance under each of the lights."""
    lights = environments(request.lighting) or environments(replace(request.lighting, envmaps=(ENVMAP,)))
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    performance = recorded_performance(run.subject())
    filmed = shoot(run, request.film, performance, lights, progress, plays_itself=True)
    return RelightResult(run=run.folder, files=filmed.files, frames=filmed.frames, exposure=filmed.exposure)
