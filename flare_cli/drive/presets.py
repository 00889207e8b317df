"""Procedural performances by name, as ARKit weights and head turns: blink, talk, look-around, turntable."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from flare_cli.drive.arkit_files import Capture
from flare_cli.head.arkit import ARKIT_NAMES

FPS = 30.0
SECONDS = {"blink": 3.0, "talk": 6.0, "look-around": 6.0, "turntable": 6.0}
PRESETS = tuple(SECONDS)


def preset(name: str) -> Capture:
    """The performance called `name`; it begins and ends at rest, so that it can be looped."""
    t = np.arange(round(SECONDS[name] * FPS)) / (SECONDS[name] * FPS)
    make = {"blink": _blink, "talk": _talk, "look-around": _look_around, "turntable": _turntable}[name]
    curves, head = make(t)
    weights = np.zeros((len(t), len(ARKIT_NAMES)))
    for unit, curve in curves.items():
        for name_ in [unit] if unit in ARKIT_NAMES else [f"{unit}Left", f"{unit}Right"]:
            weights[:, ARKIT_NAMES.index(name_)] = np.clip(curve, 0, 1)
    return Capture(weights=weights, head=head, fps=FPS)


def _blink(t: Float[np.ndarray, "N"]) -> tuple[dict[str, Float[np.ndarray, "N"]], Float[np.ndarray, "N 3"]]:
    blinks = np.exp(-(((t - 0.3) / 0.03) ** 2)) + np.exp(-(((t - 0.72) / 0.03) ** 2))
    return {"eyeBlink": blinks, "eyeSquint": 0.3 * blinks}, np.zeros((len(t), 3))


def _talk(t: Float[np.ndarray, "N"]) -> tuple[dict[str, Float[np.ndarray, "N"]], Float[np.ndarray, "N 3"]]:
    loud = np.sin(math.pi * t) ** 0.5 * (0.6 + 0.4 * np.sin(2 * math.pi * 3 * t) ** 2)
    syllable = 0.5 - 0.5 * np.cos(2 * math.pi * 22 * t)
    rounded = 0.5 + 0.5 * np.sin(2 * math.pi * 7 * t)
    curves = {
        "jawOpen": 0.5 * loud * syllable,
        "mouthFunnel": 0.5 * loud * syllable * rounded,
        "mouthPucker": 0.5 * loud * (1 - syllable) * rounded,
        "mouthLowerDown": 0.4 * loud * syllable * (1 - rounded),
        "mouthUpperUp": 0.2 * loud * syllable * (1 - rounded),
        "mouthSmile": 0.25 * loud * (1 - rounded),
        "mouthPress": 0.3 * loud * (1 - syllable) * (1 - rounded),
        "browInnerUp": 0.4 * np.exp(-(((t - 0.4) / 0.06) ** 2)),
        "eyeBlink": np.exp(-(((t - 0.55) / 0.015) ** 2)) + np.exp(-(((t - 0.2) / 0.015) ** 2)),
    }
    nod = np.sin(math.pi * t)[:, None] * np.stack(
        [0.05 * np.sin(12 * t), 0.06 * np.sin(9 * t), 0.02 * np.sin(7 * t)], 1
    )
    return curves, nod


def _look_around(t: Float[np.ndarray, "N"]) -> tuple[dict[str, Float[np.ndarray, "N"]], Float[np.ndarray, "N 3"]]:
    across, up = np.sin(2 * math.pi * t), np.sin(4 * math.pi * t)
    left, right, high, low = (np.clip(v, 0, 1) for v in (across, -across, up, -up))
    curves = {
        "eyeLookOutLeft": 0.7 * left, "eyeLookInRight": 0.7 * left,
        "eyeLookOutRight": 0.7 * right, "eyeLookInLeft": 0.7 * right,
        "eyeLookUp": 0.5 * high, "eyeLookDown": 0.5 * low,
    }  # fmt: skip
    return curves, np.stack([-0.12 * up, 0.35 * across, 0 * t], 1)


def _turntable(t: Float[np.ndarray, "N"]) -> tuple[dict[str, Float[np.ndarray, "N"]], Float[np.ndarray, "N 3"]]:
    return {}, np.stack([0 * t, 2 * math.pi * t, 0 * t], 1)
