"""`flare animate`: another person, an ARKit capture, named arrays, a video or a preset drives the avatar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.drive.drivers import load_driver
from flare_cli.drive.transfer import transfer
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import DRAW_SMALLER, gpu_memory
from flare_cli.show.output import open_output
from flare_cli.show.track_pictures import draw_track

CACHE = ".flare-drivers"
"""Beside the output: subjects of driving videos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateRequest:
    """What `flare animate` was asked. `driver` is anything that `drivers.load_driver` takes.

    `absolute` copies the driver's numbers instead of its change from neutral.
    """

    driver: Path
    out: Path
    run: Path | None = None
    absolute: bool = False
    frames: int | None = None
    size: int | None = None
    rasterizer: str | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateResult:
    """Where the pictures went, and what had to be converted."""

    run: Path
    out: Path
    frames: int
    notes: list[str]


@gpu_memory(DRAW_SMALLER)
def animate(request: AnimateRequest, progress: ProgressCallback) -> AnimateResult:
    """Draw the avatar with the driver's expressions, head motion and timing, under the avatar's own light."""
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    own = run.subject().track
    source = run.track_folder(request.driver)  # of the fitted subject the refined track
    driver = load_driver(source, run.avatar.head.to("cpu"), cache=request.out.parent / CACHE, progress=progress)
    performance = transfer(driver, own, absolute=request.absolute)
    performance = performance if request.frames is None else performance[: request.frames]
    size = request.size or run.config.data.size
    camera = performance.camera
    camera = camera.resized(size, round(camera.width * size / camera.height))
    with open_output(request.out, performance.fps) as output:
        for drawn in draw_track(run.avatar, performance.with_camera(camera), run.rasterizer()):
            output.add(drawn.picture.colour)
            progress("animate", output.count, len(performance))
    return AnimateResult(run=run.folder, out=request.out, frames=len(performance), notes=list(driver.notes))
