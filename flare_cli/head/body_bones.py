"""A body below a head that is bones alone: programs for whole people want its bones by name before they take a head.

Names, hierarchy and orientations (each bone's own +y points along it) are those of Mixamo's skeletons, which Ready
Player Me's avatars have too. The person stands in a T with the feet at y = 0. Sizes are those of a person of 1.7 m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

NECK_HEIGHT = 1.5  # metres from the floor to where the neck begins
NECK_PARENT = "Spine2"
_FINGERS = {"Thumb": 0.02, "Index": 0.035, "Middle": 0.01, "Ring": -0.015, "Pinky": -0.04}  # metres across the hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Bones:
    """Parents first (-1 for the root); positions (metres) and orientations (quaternions x, y, z, w) in the world."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: Float[np.ndarray, "J 3"]
    rotations: Float[np.ndarray, "J 4"]


@dataclass(frozen=True, slots=True)
class _Bone:
    """Offset in metres and turn in degrees (about x, then the new y, then the new z), as the parent's axes see them."""

    name: str
    parent: str | None
    offset: tuple[float, float, float]
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


def body_bones() -> Bones:
    """The body, from the hips up to where a neck goes on (`NECK_PARENT`, straight below it), limbs and fingers."""
    bones = [
        _Bone("Hips", None, (0.0, NECK_HEIGHT - 0.52, 0.0)),
        _Bone("Spine", "Hips", (0.0, 0.1, 0.0)),
        _Bone("Spine1", "Spine", (0.0, 0.13, 0.0)),
        _Bone(NECK_PARENT, "Spine1", (0.0, 0.14, 0.0)),
        *(bone for side, sign in (("Left", 1), ("Right", -1)) for bone in (*_arm(side, sign), *_leg(side, sign))),
    ]
    names = [bone.name for bone in bones]
    parents = [-1 if bone.parent is None else names.index(bone.parent) for bone in bones]
    positions, rotations = np.zeros((len(bones), 3)), [Rotation.identity()] * len(bones)
    for i, (bone, parent) in enumerate(zip(bones, parents, strict=True)):
        above = Rotation.identity() if parent < 0 else rotations[parent]
        positions[i] = above.apply(bone.offset) + (0 if parent < 0 else positions[parent])
        rotations[i] = above * Rotation.from_euler("XYZ", bone.turn, degrees=True)
    return Bones(
        names=tuple(names),
        parents=tuple(parents),
        positions=positions,
        rotations=np.stack([rotation.as_quat() for rotation in rotations]),
    )


def _arm(side: str, sign: int) -> list[_Bone]:
    """From the shoulder to the fingertips; `sign` is 1 on the person's left."""
    hand = f"{side}Hand"
    bones = [
        _Bone(f"{side}Shoulder", NECK_PARENT, (sign * 0.05, 0.1, 0.0), (90.0, 0.0, sign * -90.0)),
        _Bone(f"{side}Arm", f"{side}Shoulder", (0.0, 0.12, 0.0)),
        _Bone(f"{side}ForeArm", f"{side}Arm", (0.0, 0.27, 0.0)),
        _Bone(hand, f"{side}ForeArm", (0.0, 0.25, 0.0)),
    ]
    for finger, across in _FINGERS.items():
        is_thumb = finger == "Thumb"
        root = (sign * -across, 0.03 if is_thumb else 0.09, 0.0)
        bones.append(_Bone(f"{hand}{finger}1", hand, root, (0.0, 0.0, sign * 40.0 if is_thumb else 0.0)))
        bones += [_Bone(f"{hand}{finger}{n}", f"{hand}{finger}{n - 1}", (0.0, 0.03, 0.0)) for n in (2, 3)]
    return bones


def _leg(side: str, sign: int) -> list[_Bone]:
    """From the thigh to the toes, which touch the floor."""
    shin = 0.5 * (NECK_HEIGHT - 0.52 - 0.06 - 0.075)
    return [
        _Bone(f"{side}UpLeg", "Hips", (sign * 0.09, -0.06, 0.0), (0.0, 0.0, 180.0)),
        _Bone(f"{side}Leg", f"{side}UpLeg", (0.0, shin, 0.0)),
        _Bone(f"{side}Foot", f"{side}Leg", (0.0, shin, 0.0), (60.0, 0.0, 0.0)),
        _Bone(f"{side}ToeBase", f"{side}Foot", (0.0, 0.15, 0.0), (30.0, 0.0, 0.0)),
    ]
