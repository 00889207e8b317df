"""What the head does in one picture: a frame of a performance or rest, with a page's controls on top."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import Joint
from flare_cli.head.model import ArkitMap
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The head model's parameters, as a batch of one."""

    expression: Float[Tensor, "1 E"]
    pose: Float[Tensor, "1 J 3"]
    translation: Float[Tensor, "1 3"]


def neutral_moment(track: Track) -> Moment:
    """This person at rest, where `drive.transfer` begins from: medians; jaw and eyes have a true zero."""
    pose = torch.zeros_like(track.pose[:1])
    turned = [Joint.ROOT, Joint.NECK]
    pose[0, turned] = track.pose[:, turned].median(0).values
    return Moment(
        expression=track.expression.median(0, keepdim=True).values,
        pose=pose,
        translation=track.translation.median(0, keepdim=True).values,
    )


def moment_of(track: Track, index: int) -> Moment:
    """One frame of a performance."""
    at = slice(index, index + 1)
    return Moment(expression=track.expression[at], pose=track.pose[at], translation=track.translation[at])


def acted(moment: Moment, arkit: ArkitMap, weights: Float[Tensor, "52"], turn: tuple[float, ...]) -> Moment:
    """The moment with ARKit weights added, and the head turned by pitch, yaw and roll (radians) as captures turn it."""
    pose = moment.pose + torch.einsum("k,kjc->jc", weights, arkit.pose)
    root = Rotation.from_rotvec(moment.pose[0, Joint.ROOT].numpy()) * Rotation.from_euler("xyz", turn)
    pose[0, Joint.ROOT] = torch.from_numpy(root.as_rotvec()).to(pose)
    return Moment(expression=moment.expression + weights @ arkit.expression, pose=pose, translation=moment.translation)


def gaze_weights(arkit: ArkitMap, yaw: float, pitch: float) -> Float[Tensor, "52"]:
    """ARKit weights that turn both eyes by radians, to the subject's left and down; lids follow. Held to 0..1."""
    across = ("Out", "In") if yaw > 0 else ("In", "Out")  # of the left eye, and of the right one
    along = "Down" if pitch > 0 else "Up"
    weights = torch.zeros(len(ARKIT_NAMES))
    for side, joint, way in (("Left", Joint.EYE_LEFT, across[0]), ("Right", Joint.EYE_RIGHT, across[1])):
        for unit, angle in ((f"eyeLook{way}{side}", yaw), (f"eyeLook{along}{side}", pitch)):
            index = ARKIT_NAMES.index(unit)
            whole = float(arkit.pose[index, joint].norm())  # the angle of a weight of 1
            weights[index] = min(abs(angle) / whole, 1.0) if whole > 0 else 0.0
    return weights


def radians(degrees: tuple[float, ...]) -> tuple[float, ...]:
    """Degrees as radians."""
    return tuple(math.radians(angle) for angle in degrees)
