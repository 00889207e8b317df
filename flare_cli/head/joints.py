"""The joints of every head model, in the order of poses, skinning weights and skeletons."""

from __future__ import annotations

from enum import IntEnum


class Joint(IntEnum):
    """Index of a joint. Left and right are the subject's; parents come before children."""

    ROOT = 0
    NECK = 1
    JAW = 2
    EYE_LEFT = 3
    EYE_RIGHT = 4


JOINT_NAMES = tuple(joint.name.lower() for joint in Joint)
PARENTS = (-1, Joint.ROOT, Joint.NECK, Joint.NECK, Joint.NECK)
