"""Where the camera of a film stands: where the recording's stood, on a circle around the head, or moving along."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.head.joints import Joint
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.camera import Cameras
from flare_cli.subject.track import Track

CameraMove: TypeAlias = Literal["fixed", "orbit", "track"]
STEADY_SECONDS = 0.25  # deviation of the window that a tracking camera follows the head by; chosen by eye


def moved_cameras(
    move: CameraMove, cameras: Cameras, centre: Float[Tensor, "N 3"], *, degrees: float, fps: float
) -> Cameras:
    """A film's N cameras of which `cameras` are those of the recording and `centre` the places of the head.

    An orbit swings over `degrees` in all, to one side and the other, or goes once around at 360. A tracking camera
    moves with the head, without its trembling, and keeps its direction.
    """
    if move == "fixed":
        return cameras
    middle = centre.median(0).values
    if move == "track":
        smooth = ndimage.gaussian_filter1d(centre.cpu().numpy(), STEADY_SECONDS * fps, axis=0, mode="nearest")
        return _shifted(cameras, torch.from_numpy(smooth).to(centre) - middle)
    phase = torch.arange(len(cameras), device=centre.device) / len(cameras) * 2 * math.pi
    angle = phase if degrees >= 360 else math.radians(degrees / 2) * phase.sin()
    return _around(cameras, middle, angle)


def head_centres(avatar: Avatar, track: Track) -> Float[Tensor, "N 3"]:
    """Where the middle of the head is: the origin of the rest pose, moved along with the neck joint."""
    with torch.no_grad():
        motion = avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
    return motion.transforms[:, Joint.NECK, :, 3] + motion.translation


def reframed(camera: Cameras, height: int, width: int) -> Cameras:
    """The same vertical field of view from the same places, cut or widened evenly at both sides to another shape."""
    scale = height / camera.height
    fx, fy, cx, cy = (camera.intrinsics * scale).unbind(-1)
    cx = cx + (width - camera.width * scale) / 2
    return replace(camera, intrinsics=torch.stack([fx, fy, cx, cy], -1), height=height, width=width)


def _shifted(cameras: Cameras, by: Float[Tensor, "N 3"]) -> Cameras:
    rotation, translation = cameras.camera_from_world.split([3, 1], 2)
    return replace(cameras, camera_from_world=torch.cat([rotation, translation - rotation @ by[..., None]], 2))


def _around(cameras: Cameras, pivot: Float[Tensor, "3"], angle: Float[Tensor, "N"]) -> Cameras:
    """Cameras that went around a vertical axis through a point."""
    by = pivot.expand(len(cameras), 3)
    turn = rotation_from_axis_angle(angle[:, None] * angle.new_tensor([0, 1, 0]))
    return _shifted(_shifted(cameras, -by).turned(turn), by)
