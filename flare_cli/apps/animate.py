"""`flare animate`: another person, an ARKit capture, named arrays, a video or a preset drives the avatar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.data.video import Sound
from flare_cli.drive.drivers import CACHE, load_driver
from flare_cli.drive.transfer import transfer
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import DRAW_SMALLER, gpu_memory
from flare_cli.show.filming.film import Film, shoot
from flare_cli.show.filming.lighting import LIGHT_OF_THE_RECORDING, Lighting, environments
from flare_cli.show.filming.performance import driven_performance


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateRequest:
    """What `flare animate` was asked. `driver` is anything that `drivers.load_driver` takes.

    `absolute` copies the driver's numbers instead of its change from neutral. `sound` takes that of a driving video.
    """

    driver: Path
    film: Film
    lighting: Lighting = LIGHT_OF_THE_RECORDING
    run: Path | None = None
    absolute: bool = False
    sound: bool = True
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateResult:
    """Where the pictures went, the factor (in stops) that was applied to each map, and what had to be converted."""

    run: Path
    files: list[Path]
    frames: int
    exposure: dict[str, float]
    notes: list[str]


@gpu_memory(DRAW_SMALLER)
def animate(request: AnimateRequest, progress: ProgressCallback) -> AnimateResult:
    """Draw the avatar with the driver's expressions, head motion and timing, by default under its own light."""
    lights = environments(request.lighting)
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    cache, own = request.film.out.parent / CACHE, run.subject()
    source = run.track_folder(request.driver)  # of the fitted subject the refined track
    driver = load_driver(source, run.avatar.head.to("cpu"), cache=cache, progress=progress)
    shown = driver.subject if source == request.driver else own
    performance = driven_performance(transfer(driver, own.track, absolute=request.absolute), shown)
    sound = Sound(path=driver.video) if request.sound and driver.video is not None else None
    filmed = shoot(run, request.film, performance, lights, progress, sound=sound)
    return AnimateResult(
        run=run.folder, files=filmed.files, frames=filmed.frames, exposure=filmed.exposure, notes=list(driver.notes)
    )
