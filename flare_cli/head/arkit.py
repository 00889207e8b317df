"""ARKit's 52 face weights by name, in the order of Apple's documentation (`ARFaceAnchor.BlendShapeLocation`)."""

from __future__ import annotations

_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
_MOUTH_PAIRS = ("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch")
_LIP_PAIRS = ("mouthPress", "mouthLowerDown", "mouthUpperUp")

ARKIT_NAMES: tuple[str, ...] = (
    *(f"{unit}Left" for unit in _EYE),
    *(f"{unit}Right" for unit in _EYE),
    *("jawForward", "jawLeft", "jawRight", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
    *(f"{unit}{side}" for unit in _MOUTH_PAIRS for side in ("Left", "Right")),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"{unit}{side}" for unit in _LIP_PAIRS for side in ("Left", "Right")),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)
JAW_OPEN = "jawOpen"
EXPRESSION_NAMES = tuple(name for name in ARKIT_NAMES if name != JAW_OPEN)
"""The units that move the skin; opening the jaw is a joint."""
