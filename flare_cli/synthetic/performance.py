"""What a synthetic person does: smooth curves of ARKit weights, head turns, gaze and sway."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel

# Largest turns of the head, chosen by eye: what a person does before a still camera.
YAW, PITCH, ROLL = math.radians(35), math.radians(15), math.radians(6)
NECK_SHARE = 0.8  # of a head turn; the shoulders take the rest
SWAY = 0.008  # metres
TRAINING_SHARE = 0.8  # of the frames; the others are held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Per-frame weights and head motion. Frames from `held_out` on show motion that is not in those before."""

    arkit: Float[Tensor, "B 52"]
    head: Float[Tensor, "B 3"]  # pitch, yaw, roll in radians
    translation: Float[Tensor, "B 3"]
    held_out: int

    def expression(self, model: HeadModel) -> Float[Tensor, "B E"]:
        """Expression parameters of `model`."""
        return self.arkit @ model.arkit.expression

    def pose(self, model: HeadModel) -> Float[Tensor, "B J 3"]:
        """Joint rotations of `model`: jaw and eyes from the weights, the head's turn by neck and root."""
        pose = torch.einsum("bk,kjc->bjc", self.arkit, model.arkit.pose)
        turn = torch.zeros_like(pose)
        turn[:, Joint.NECK] = NECK_SHARE * self.head
        turn[:, Joint.ROOT] = (1 - NECK_SHARE) * self.head
        return pose + turn


def perform(frames: int, *, seed: int) -> Performance:
    """A short performance: talking, smiling, brows, blinks and looks around while the head turns."""
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(4, generator=generator) * 0.3
    training = max(1, round(frames * TRAINING_SHARE))
    p = torch.linspace(0, 1, training)
    q = torch.linspace(0, 1, frames - training + 1)[1:]
    weights = _joined(_training_weights(p, phase), _held_out_weights(q))
    sway = SWAY * torch.stack(
        [_wave(torch.cat([p, 1 + q]), f, float(phase[i])) for i, f in enumerate((1.0, 1.5, 0.5))], 1
    )
    head = torch.cat(
        [
            torch.stack([PITCH * _wave(p, 2, 0.1), YAW * _wave(p, 1, 0), ROLL * _wave(p, 1.5, float(phase[0]))], 1),
            torch.stack([-0.7 * PITCH * _wave(q, 1.5, 0), -0.75 * YAW * _wave(q, 1, 0), -ROLL * _wave(q, 1, 0.2)], 1),
        ]
    )
    arkit = torch.zeros(frames, len(ARKIT_NAMES))
    for name, curve in weights.items():
        arkit[:, ARKIT_NAMES.index(name)] = curve.clamp(0, 1)
    _look(
        arkit, across=-0.6 * head[:, 1] / YAW + 0.3 * _wave(torch.cat([p, 1 + q]), 3, 0.2), up=head[:, 0] / PITCH * 0.5
    )
    return Performance(arkit=arkit, head=head, translation=sway, held_out=training)


def _training_weights(p: Float[Tensor, "N"], phase: Float[Tensor, "4"]) -> dict[str, Float[Tensor, "N"]]:
    talk = _bump(p, 0.22, 0.16) + _bump(p, 0.78, 0.12)
    syllable = 0.5 - 0.5 * torch.cos(2 * math.pi * (11 * p + phase[1]))
    rounding = 0.5 + 0.5 * torch.sin(2 * math.pi * (5 * p + phase[2]))
    smile = _bump(p, 0.45, 0.08) + 0.5 * _bump(p, 0.95, 0.06)
    brows = _bump(p, 0.3, 0.06) + 0.8 * _bump(p, 0.7, 0.06)
    frown = _bump(p, 0.58, 0.05)
    return {
        "jawOpen": 0.55 * talk * syllable + 0.15 * smile,
        "mouthFunnel": 0.5 * talk * rounding * syllable,
        "mouthPucker": 0.6 * talk * rounding * (1 - syllable) + 0.7 * _bump(p, 0.62, 0.03),
        **_both("mouthLowerDown", 0.4 * talk * syllable),
        **_both("mouthSmile", 0.8 * smile),
        **_both("cheekSquint", 0.5 * smile),
        "browInnerUp": 0.7 * brows,
        **_both("browOuterUp", 0.8 * brows),
        **_both("eyeWide", 0.4 * brows),
        **_both("browDown", 0.8 * frown),
        **_both("noseSneer", 0.4 * frown),
        **_both("eyeBlink", 0.9 * (_bump(p, 0.12, 0.025) + _bump(p, 0.5, 0.03) + _bump(p, 0.86, 0.025))),
    }


def _held_out_weights(q: Float[Tensor, "N"]) -> dict[str, Float[Tensor, "N"]]:
    open_smile = _bump(q, 0.35, 0.2)
    return {
        "jawOpen": 0.5 * open_smile + 0.3 * _bump(q, 0.85, 0.1),
        **_both("mouthSmile", 0.7 * open_smile),
        **_both("browOuterUp", 0.6 * _bump(q, 0.7, 0.15)),
        "mouthPucker": 0.5 * _bump(q, 0.85, 0.1),
        **_both("eyeBlink", 0.9 * _bump(q, 0.6, 0.06)),
    }


def _both(unit: str, curve: Float[Tensor, "N"]) -> dict[str, Float[Tensor, "N"]]:
    return {f"{unit}Left": curve, f"{unit}Right": curve}


def _joined(
    first: dict[str, Float[Tensor, "N"]], second: dict[str, Float[Tensor, "M"]]
) -> dict[str, Float[Tensor, "N+M"]]:
    """One curve after the other; a name that one of them lacks rests there."""
    rest = (torch.zeros_like(first["jawOpen"]), torch.zeros_like(second["jawOpen"]))
    names = dict.fromkeys([*first, *second])
    return {name: torch.cat([first.get(name, rest[0]), second.get(name, rest[1])]) for name in names}


def _look(arkit: Float[Tensor, "N 52"], *, across: Float[Tensor, "N"], up: Float[Tensor, "N"]) -> None:
    """Set the look weights of both eyes; positive `across` is to the subject's left, positive `up` looks up."""
    signals = {
        "eyeLookOutLeft": across,
        "eyeLookInRight": across,
        "eyeLookInLeft": -across,
        "eyeLookOutRight": -across,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": -up,
        "eyeLookDownRight": -up,
    }
    for name, signal in signals.items():
        arkit[:, ARKIT_NAMES.index(name)] = signal.clamp(0, 1)


def _bump(t: Float[Tensor, "N"], centre: float, width: float) -> Float[Tensor, "N"]:
    return torch.exp(-(((t - centre) / width) ** 2))


def _wave(t: Float[Tensor, "N"], cycles: float, phase: float) -> Float[Tensor, "N"]:
    return torch.sin(2 * math.pi * (cycles * t + phase)) if phase else torch.sin(2 * math.pi * cycles * t)
