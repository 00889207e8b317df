"""CelebAMask-19: what the label images of a subject say of each pixel. The only place that knows the numbers."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    """The classes of CelebAMask-HQ (Lee et al., CVPR 2020). Left and right are the subject's."""

    BACKGROUND = 0
    SKIN = 1
    BROW_LEFT = 2
    BROW_RIGHT = 3
    EYE_LEFT = 4
    EYE_RIGHT = 5
    GLASSES = 6
    EAR_LEFT = 7
    EAR_RIGHT = 8
    EARRING = 9
    NOSE = 10
    MOUTH = 11
    LIP_UPPER = 12
    LIP_LOWER = 13
    NECK = 14
    NECKLACE = 15
    CLOTH = 16
    HAIR = 17
    HAT = 18


# Ours, beside the classes: something passes before the head here, and the pixel counts for nothing.
OCCLUDED = 19
# Ours, within a fit: the white of an eye.
EYE_WHITE = 20
BARE_SKIN = (Label.SKIN, Label.EAR_LEFT, Label.EAR_RIGHT, Label.NOSE, Label.NECK)
# Strands and threads: a pixel of them holds many.
FIBRES = (Label.BROW_LEFT, Label.BROW_RIGHT, Label.CLOTH, Label.HAIR, Label.HAT)
# What a face is scored on: what light and expression are read from.
FACE = (
    Label.SKIN,
    Label.BROW_LEFT,
    Label.BROW_RIGHT,
    Label.EYE_LEFT,
    Label.EYE_RIGHT,
    Label.NOSE,
    Label.LIP_UPPER,
    Label.LIP_LOWER,
)
# What the published protocol leaves out of scores (docs/method.md).
CLOTHES = (Label.NECKLACE, Label.CLOTH)
