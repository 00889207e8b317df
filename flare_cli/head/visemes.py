"""Mouth shapes of speech as ARKit weights: the 15 visemes of Oculus Lipsync, and the expressions of VRM.

Which sounds each stands for is Oculus's table (Viseme Reference of the Lipsync SDK); the weights are our own, by
articulation: lips shut for PP, lower lip under the teeth for FF, tongue at the teeth for TH, spread for E and I, round
for O and U. They were chosen by eye on the open head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES

# A name without a side stands for left and right.
_VISEMES: dict[str, dict[str, float]] = {
    "sil": {},
    "PP": {"mouthPress": 0.5, "mouthRollLower": 0.35, "mouthRollUpper": 0.35},
    "FF": {"jawOpen": 0.06, "mouthRollLower": 0.7, "mouthUpperUp": 0.3},
    "TH": {"jawOpen": 0.18, "tongueOut": 0.35, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15},
    "DD": {"jawOpen": 0.15, "mouthLowerDown": 0.25, "mouthUpperUp": 0.2},
    "kk": {"jawOpen": 0.22, "mouthStretch": 0.15, "mouthUpperUp": 0.15},
    "CH": {"jawOpen": 0.1, "mouthFunnel": 0.55, "mouthPucker": 0.25},
    "SS": {"jawOpen": 0.06, "mouthStretch": 0.3, "mouthSmile": 0.2, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},
    "nn": {"jawOpen": 0.12, "mouthLowerDown": 0.2, "mouthSmile": 0.1},
    "RR": {"jawOpen": 0.14, "mouthFunnel": 0.4, "mouthPucker": 0.15},
    "aa": {"jawOpen": 0.6, "mouthLowerDown": 0.15, "mouthUpperUp": 0.1},
    "E": {"jawOpen": 0.28, "mouthSmile": 0.3, "mouthStretch": 0.2, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},
    "I": {"jawOpen": 0.14, "mouthSmile": 0.45, "mouthStretch": 0.25, "mouthLowerDown": 0.2},
    "O": {"jawOpen": 0.38, "mouthFunnel": 0.6, "mouthPucker": 0.3},
    "U": {"jawOpen": 0.16, "mouthFunnel": 0.35, "mouthPucker": 0.75},
}
# What Ready Player Me's avatars have beside ARKit's units and the visemes.
_EXTRAS: dict[str, dict[str, float]] = {
    "mouthOpen": {"jawOpen": 1.0},
    "mouthSmile": {"mouthSmile": 1.0},
    "eyesClosed": {"eyeBlink": 1.0},
    "eyesLookUp": {"eyeLookUp": 1.0},
    "eyesLookDown": {"eyeLookDown": 1.0},
}

# VRM 1.0's expressions: its vowels are visemes of the table above; moods are our own, chosen by eye on the open head.
_VRM_VOWELS = {"aa": "aa", "ih": "I", "ou": "U", "ee": "E", "oh": "O"}
_VRM_EXPRESSIONS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.8, "cheekSquint": 0.5, "eyeSquint": 0.3, "browOuterUp": 0.2},
    "angry": {"browDown": 0.9, "noseSneer": 0.4, "mouthFrown": 0.4, "mouthPress": 0.4, "eyeSquint": 0.3},
    "sad": {"browInnerUp": 0.9, "mouthFrown": 0.7, "mouthShrugLower": 0.3, "eyeBlink": 0.15},
    "relaxed": {"mouthSmile": 0.3, "eyeBlink": 0.25, "browInnerUp": 0.2},
    "surprised": {"browInnerUp": 0.9, "browOuterUp": 0.8, "eyeWide": 0.8, "jawOpen": 0.35},
    "blink": {"eyeBlink": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUp": 1.0},
    "lookDown": {"eyeLookDown": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "neutral": {},
}


def vrm_expressions() -> dict[str, dict[str, float]]:
    """ARKit units and weights of VRM 1.0's eighteen preset expressions."""
    vowels = {name: _VISEMES[viseme] for name, viseme in _VRM_VOWELS.items()}
    return {
        name: {arkit: weight for unit, weight in units.items() for arkit in _sides(unit)}
        for name, units in (vowels | _VRM_EXPRESSIONS).items()
    }


def talking_shapes() -> dict[str, Float[Tensor, "52"]]:
    """ARKit weights of `viseme_sil` to `viseme_U`, and of the five shapes with which Ready Player Me's avatars come."""
    named = {f"viseme_{name}": weights for name, weights in _VISEMES.items()} | _EXTRAS
    return {name: _weights(weights) for name, weights in named.items()}


def _weights(units: dict[str, float]) -> Float[Tensor, "52"]:
    weights = torch.zeros(len(ARKIT_NAMES))
    for unit, weight in units.items():
        for name in _sides(unit):
            weights[ARKIT_NAMES.index(name)] = weight
    return weights


def _sides(unit: str) -> list[str]:
    return [unit] if unit in ARKIT_NAMES else [f"{unit}Left", f"{unit}Right"]
