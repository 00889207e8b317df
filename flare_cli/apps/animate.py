"""`flare animate`: another subject's performance drives the avatar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.apps.output import open_output
from flare_cli.apps.progress import ProgressCallback
from flare_cli.apps.rendering import draw_track, to_bytes
from flare_cli.apps.runs import choose_device, load_run, newest_run
from flare_cli.errors import SubjectError
from flare_cli.subject.folder import load_subject
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateRequest:
    """What `flare animate` was asked. `absolute` copies the driver's numbers instead of its change from neutral."""

    driver: Path
    out: Path
    run: Path | None = None
    absolute: bool = False
    frames: int | None = None
    size: int | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateResult:
    """Where the pictures went."""

    run: Path
    out: Path
    frames: int


def animate(request: AnimateRequest, progress: ProgressCallback) -> AnimateResult:
    """Draw the avatar with the driver's expressions, head motion and timing, under the avatar's own light."""
    run = load_run(request.run or newest_run(), choose_device(request.device))
    driver = load_subject(request.driver).track
    own = run.subject().track
    if driver.head != own.head:
        raise SubjectError(
            f"{request.driver} was tracked with the head {driver.head!r}, the avatar has {own.head!r}",
            hint="preprocess the driver again with the avatar's head (--head)",
        )
    performance = transfer(driver, own, absolute=request.absolute)
    performance = performance if request.frames is None else performance[: request.frames]
    size = request.size or run.avatar.config.data.size
    camera = performance.camera
    camera = camera.resized(size, round(camera.width * size / camera.height))
    with open_output(request.out, performance.fps) as output:
        for drawn in draw_track(run.avatar, performance.with_camera(camera)):
            for picture in to_bytes(drawn.picture.colour):
                output.add(picture)
            progress("animate", output.count, len(performance))
    return AnimateResult(run=run.folder, out=request.out, frames=len(performance))


def transfer(driver: Track, own: Track, *, absolute: bool) -> Track:
    """The driver's motion on this person, in this person's camera.

    By default each person's own neutral (the median over the recording) is taken out of the driver and the other's put
    in: a tracker's offsets are part of identity, and copying them changes the face.
    """
    if absolute:
        expression, pose = driver.expression, driver.pose
    else:
        expression = driver.expression - _median(driver.expression) + _median(own.expression)
        pose = _relative_pose(driver.pose, own.pose)
    translation = driver.translation - _median(driver.translation) + _median(own.translation)
    return replace(
        own,
        frames=driver.frames,
        expression=expression,
        pose=pose,
        translation=translation,
        fps=driver.fps,
        camera=own.camera[:1],
        video=None,
    )


def _relative_pose(driver: Tensor, own: Tensor) -> Tensor:
    """Per joint: own neutral · driver neutral⁻¹ · driver, as rotations. Jaw and eyes stay: they have a true zero."""
    moved = driver.clone()
    for joint in (0, 1):
        mine, theirs = (Rotation.from_rotvec(_median(pose[:, joint]).numpy()) for pose in (own, driver))
        rotation = mine * theirs.inv() * Rotation.from_rotvec(driver[:, joint].numpy())
        moved[:, joint] = torch.from_numpy(rotation.as_rotvec())
    return moved


def _median(values: Tensor) -> Tensor:
    return values.median(0).values
