"""What a benchmark person does: speech-like motion, gaze, blinks and turns; then expressions and turns not seen before.

All curves are functions of the seed. Weights are ARKit's, so that every head model can play them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.synthetic.performance import SWAY, Performance

# Syllables a second of unhurried speech (Pellegrino et al. 2011, "A cross-language perspective on speech information
# rate": 5 to 8; slower here, so that 12 frames a second still show each).
SYLLABLES = 4.0
# Mouth shapes of speech in ARKit's units, after the visemes of MPEG-4; strengths chosen by eye.
VISEMES: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.45, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3},  # A
    {"jawOpen": 0.2, "mouthStretchLeft": 0.45, "mouthStretchRight": 0.45, "mouthDimpleLeft": 0.2},  # E
    {"jawOpen": 0.25, "mouthFunnel": 0.6},  # O
    {"jawOpen": 0.1, "mouthPucker": 0.7},  # U
    {"mouthPressLeft": 0.5, "mouthPressRight": 0.5, "mouthRollLower": 0.3},  # M, B, P
    {"jawOpen": 0.08, "mouthRollLower": 0.5, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3},  # F, V
    {"jawOpen": 0.12, "mouthShrugUpper": 0.3, "mouthStretchLeft": 0.2, "mouthStretchRight": 0.2},  # S, T
)
# What comes between the words of the training part, and what the held-out part alone shows.
LOOKS: tuple[Mapping[str, float], ...] = (
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.75, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    {"browInnerUp": 0.7, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7, "eyeWideLeft": 0.4, "eyeWideRight": 0.4},
    {"browDownLeft": 0.8, "browDownRight": 0.8, "mouthFrownLeft": 0.4, "mouthFrownRight": 0.4},
)
UNSEEN_LOOKS: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.5, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.6, "cheekSquintRight": 0.6},
    {"mouthLeft": 0.6, "eyeBlinkLeft": 0.9, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.6},  # a wink
    {"mouthPucker": 0.8, "browInnerUp": 0.6, "jawOpen": 0.15},
    {"noseSneerLeft": 0.6, "noseSneerRight": 0.6, "browDownLeft": 0.6, "browDownRight": 0.6, "mouthUpperUpLeft": 0.5},
)
# Largest turns (radians): yaw to either side, then nod and tilt. The held-out part nods and tilts further, and at once.
YAW, PITCH, ROLL = math.radians(40), math.radians(10), math.radians(5)
UNSEEN_YAW, UNSEEN_PITCH, UNSEEN_ROLL = math.radians(30), math.radians(17), math.radians(12)
GAZE_SECONDS, BLINK_SECONDS, BLINK_LENGTH = 0.9, 2.3, 0.25


def act(training: int, held_out: int, *, fps: float, seed: int) -> Performance:
    """`training` frames of talk while the head turns, and `held_out` frames of something else."""
    random = np.random.default_rng(seed)
    seconds = np.arange(training + held_out) / fps
    first, second = seconds[:training], seconds[training:] - training / fps
    weights = np.zeros((training + held_out, len(ARKIT_NAMES)))
    weights[:training] = _talk(first, random) + _turns_of(LOOKS, first, random)
    weights[training:] = _turns_of(UNSEEN_LOOKS, second, random)
    head = np.concatenate([_turning(training, random), _unseen_turning(held_out)])
    _add_blinks(weights, seconds, random)
    _add_gaze(weights, seconds, head, random)
    phase = random.uniform(0, 2 * math.pi, 3)
    sway = SWAY * np.sin(2 * math.pi * seconds[:, None] * np.array([0.23, 0.31, 0.17]) + phase)
    return Performance(
        arkit=torch.from_numpy(weights.clip(0, 1)).float(),
        head=torch.from_numpy(head).float(),
        translation=torch.from_numpy(sway).float(),
        held_out=training,
    )


def _vector(weights: Mapping[str, float]) -> Float[np.ndarray, "52"]:
    vector = np.zeros(len(ARKIT_NAMES))
    for name, weight in weights.items():
        vector[ARKIT_NAMES.index(name)] = weight
    return vector


def _talk(seconds: Float[np.ndarray, "N"], random: np.random.Generator) -> Float[np.ndarray, "N 52"]:
    """A random viseme for each syllable, blended into the next; phrases of some two seconds with pauses between."""
    beat = seconds * SYLLABLES
    shapes = np.stack([_vector(VISEMES[i]) for i in random.integers(0, len(VISEMES), int(beat.max(initial=0)) + 3)])
    shapes *= random.uniform(0.6, 1.1, (len(shapes), 1))
    syllable, within = beat.astype(int), (beat % 1)[:, None]
    blend = 0.5 - 0.5 * np.cos(math.pi * within)
    phrase = 0.5 + 0.5 * np.tanh(4 * np.cos(2 * math.pi * seconds / 3.0))
    return phrase[:, None] * ((1 - blend) * shapes[syllable] + blend * shapes[syllable + 1])


def _turns_of(
    looks: tuple[Mapping[str, float], ...], seconds: Float[np.ndarray, "N"], random: np.random.Generator
) -> Float[np.ndarray, "N 52"]:
    """Each look once, one after the other in random order, rising and falling smoothly."""
    share = (seconds + 0.5 * (seconds[1] - seconds[0] if len(seconds) > 1 else 1.0)) / (seconds.max(initial=0) + 1e-9)
    total = np.zeros((len(seconds), len(ARKIT_NAMES)))
    for place, which in enumerate(random.permutation(len(looks))):
        local = (share * len(looks) - place).clip(0, 1)
        total += (np.sin(math.pi * local) ** 2)[:, None] * _vector(looks[which])
    return total


def _turning(frames: int, random: np.random.Generator) -> Float[np.ndarray, "N 3"]:
    """To both sides and back once, with nods and tilts of their own period."""
    p, phase = np.linspace(0, 1, frames), random.uniform(0, 1, 2)
    yaw = YAW * np.sin(2 * math.pi * p) * (1 if random.random() < 0.5 else -1)
    pitch = PITCH * np.sin(2 * math.pi * (2.3 * p + phase[0]))
    roll = ROLL * np.sin(2 * math.pi * (1.6 * p + phase[1]))
    return np.stack([pitch, yaw, roll], 1)


def _unseen_turning(frames: int) -> Float[np.ndarray, "N 3"]:
    """Nod and turn together, further down, up and to a shoulder than before."""
    q = np.linspace(0, 1, frames + 1)[1:]
    pitch, yaw = UNSEEN_PITCH * np.sin(2 * math.pi * q), UNSEEN_YAW * np.sin(4 * math.pi * q + 0.7)
    return np.stack([pitch, yaw, UNSEEN_ROLL * np.sin(2 * math.pi * q + 1.1)], 1)


def _add_blinks(
    weights: Float[np.ndarray, "N 52"], seconds: Float[np.ndarray, "N"], random: np.random.Generator
) -> None:
    at = random.uniform(0.3, 1.0)
    while at < seconds.max(initial=0):
        closed = 0.95 * np.clip(1.6 * (1 - np.abs(seconds - at) / BLINK_LENGTH), 0, 1)
        for side in ("Left", "Right"):
            index = ARKIT_NAMES.index(f"eyeBlink{side}")
            weights[:, index] = np.maximum(weights[:, index], closed)
        at += BLINK_SECONDS * random.uniform(0.6, 1.4)


def _add_gaze(
    weights: Float[np.ndarray, "N 52"],
    seconds: Float[np.ndarray, "N"],
    head: Float[np.ndarray, "N 3"],
    random: np.random.Generator,
) -> None:
    """Saccades about the camera, which the eyes keep to while the head turns away, as far as they reach."""
    count = int(seconds.max(initial=0) / GAZE_SECONDS) + 2
    across, up = random.uniform(-0.4, 0.4, (2, count))[:, (seconds / GAZE_SECONDS).astype(int)]
    across = across - 0.8 * head[:, 1] / YAW
    up = up + 0.8 * head[:, 0] / UNSEEN_PITCH
    for name, curve in {
        "eyeLookOutLeft": across, "eyeLookInRight": across, "eyeLookInLeft": -across, "eyeLookOutRight": -across,
        "eyeLookUpLeft": up, "eyeLookUpRight": up, "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
    }.items():  # fmt: skip
        weights[:, ARKIT_NAMES.index(name)] = curve.clip(0, 1)
