"""`flare animate`: another person, an ARKit capture, named arrays, a video or a preset drives the avatar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.apps.drivers import Driver, load_driver
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.head.joints import Joint
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import DRAW_SMALLER, gpu_memory
from flare_cli.show.output import open_output
from flare_cli.show.track_pictures import draw_track
from flare_cli.subject.track import Track

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
    driver = load_driver(request.driver, run.avatar.head.to("cpu"), cache=request.out.parent / CACHE, progress=progress)
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


def transfer(driver: Driver, own: Track, *, absolute: bool) -> Track:
    """The driver's motion on this person, in this person's camera.

    By default each person's own neutral (of a recording, the median) is taken out of the driver and the other's put in:
    a tracker's offsets are part of identity, and copying them changes the face.
    """
    rest = driver.neutral
    if absolute:
        expression, pose = driver.expression, driver.pose
    else:
        expression = driver.expression - rest.expression + _median(own.expression)
        pose = _relative_pose(driver, own.pose)
    # Always relative: where a head stands depends on its own recording's camera.
    translation = driver.translation - rest.translation + _median(own.translation)
    return replace(
        own,
        frames=torch.arange(1, len(driver) + 1),
        expression=expression,
        pose=pose,
        translation=translation,
        fps=driver.fps,
        camera=own.camera[:1],
        video=None,
    )


def _relative_pose(driver: Driver, own: Float[Tensor, "N 5 3"]) -> Float[Tensor, "M 5 3"]:
    """Per joint: own neutral · driver neutral⁻¹ · driver, as rotations. Jaw and eyes stay: they have a true zero."""
    moved = driver.pose.clone()
    for joint in (Joint.ROOT, Joint.NECK):
        mine, theirs = (
            Rotation.from_rotvec(values.numpy()) for values in (_median(own[:, joint]), driver.neutral.pose[joint])
        )
        rotation = mine * theirs.inv() * Rotation.from_rotvec(driver.pose[:, joint].numpy())
        moved[:, joint] = torch.from_numpy(rotation.as_rotvec())
    return moved


def _median(values: Float[Tensor, "N *rest"]) -> Float[Tensor, "*rest"]:
    return values.median(0).values
