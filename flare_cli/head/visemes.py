"""Mouth shapes of speech as ARKit weights: the 15 visemes of Oculus Lipsync, by the names that avatar programs use.

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


def talking_shapes() -> dict[str, Float[Tensor, "52"]]:
    """ARKit weights of `viseme_sil` to `viseme_U`, and of the five shapes with which Ready Player Me's avatars come."""
    named = {f"viseme_{name}": weights for name, weights in _VISEMES.items()} | _EXTRAS
    return {name: _weights(weights) for name, weights in named.items()}


def _weights(units: dict[str, float]) -> Float[Tensor, "52"]:
    weights = torch.zeros(len(ARKIT_NAMES))
    for unit, weight in units.items():
        for name in [unit] if unit in ARKIT_NAMES else [f"{unit}Left", f"{unit}Right"]:
            weights[ARKIT_NAMES.index(name)] = weight
    return weights
