"""A driver's motion on another person."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.drive.drivers import Driver
from flare_cli.head.joints import Joint
from flare_cli.subject.track import Track


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
        own_neutral, driver_neutral = (
            Rotation.from_rotvec(values.numpy()) for values in (_median(own[:, joint]), driver.neutral.pose[joint])
        )
        rotation = own_neutral * driver_neutral.inv() * Rotation.from_rotvec(driver.pose[:, joint].numpy())
        moved[:, joint] = torch.from_numpy(rotation.as_rotvec())
    return moved


def _median(values: Float[Tensor, "N *rest"]) -> Float[Tensor, "*rest"]:
    return values.median(0).values
