"""Relief of skin, a few hundredths to tenths of a millimetre: pores, grain, and creases that deepen as muscles pull.

Creases are curves on the open head's template (`face_space.py`), placed by eye on photographs of faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.synthetic.paint import Noise, smooth_step
from flare_cli.synthetic.people.face_space import FaceSpace

MILLIMETRE = 0.001
PORE_SPACING, PORE_RADIUS, PORE_DEPTH = 0.0017, 0.00045, 0.00005  # metres
GRAIN = ((0.0012, 0.00002), (0.004, 0.00005), (0.012, 0.0001))  # size and height of bumps, metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Crease:
    """Depth (metres) where fully drawn; `rest` of it is always there, the rest by the mean of ARKit `units`."""

    depth: Float[np.ndarray, "W"]
    units: tuple[str, ...]
    rest: float

    def now(self, arkit: Float[np.ndarray, "52"]) -> Float[np.ndarray, "W"]:
        """Depth under these weights."""
        pull = float(np.clip(np.mean([arkit[ARKIT_NAMES.index(unit)] for unit in self.units]), 0, 1))
        return self.depth * (self.rest + (1 - self.rest) * pull)


def grain(space: FaceSpace, noise: Noise, seed: int) -> Float[np.ndarray, "W"]:
    """Height of grain, pores and the neck's lines over the smooth skin, metres, the same in every frame."""
    places, regions = space.places, space.regions
    bumps = sum(height * noise(places, size, octaves=2, shift=5 + i) for i, (size, height) in enumerate(GRAIN))
    soft = 1 - 0.7 * regions["eyelids"] - 0.5 * regions["lips"]
    return bumps * soft - PORE_DEPTH * _pores(places, seed) * pore_share(space) - _neck_lines(space)


def pore_share(space: FaceSpace) -> Float[np.ndarray, "W"]:
    """How porous the skin is: nose most, then cheeks and forehead; lips and lids not."""
    x, y, z = space.places.T
    front = smooth_step(z, 0.05, 0.09)
    cheeks = np.exp(-(((np.abs(x) - 0.032) / 0.022) ** 2) - ((y + 0.035) / 0.025) ** 2)
    share = front * np.clip(0.25 + 0.8 * cheeks + 1.2 * space.regions["nose"], 0, 1.2)
    return share * (1 - space.regions["lips"]) * (1 - space.regions["eyelids"])


def creases(space: FaceSpace, noise: Noise) -> tuple[Crease, ...]:
    """All that a face has."""
    x, y, z = space.places.T
    skin = space.regions["face"] * (1 - space.regions["lips"]) * smooth_step(z, 0.03, 0.06)
    side = np.where(x > 0, "Left", "Right")
    forehead = _forehead(x, y, noise(space.places, 0.03, shift=11)) * skin
    found = [
        Crease(depth=forehead, units=("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), rest=0.15),
        Crease(depth=_frown(x, y) * skin, units=("browDownLeft", "browDownRight"), rest=0.12),
    ]
    for name in ("Left", "Right"):
        here = skin * (side == name)
        out = np.abs(x)
        found += [
            Crease(depth=_crows_feet(out, y) * here, units=(f"cheekSquint{name}", f"mouthSmile{name}"), rest=0.12),
            Crease(depth=_under_eye(out, y) * here, units=(f"cheekSquint{name}",), rest=0.35),
            Crease(depth=_nasolabial(out, y) * here, units=(f"mouthSmile{name}",), rest=0.3),
            Crease(depth=_lid_crease(out, y) * here, units=(f"eyeWide{name}",), rest=0.8),
        ]
    return tuple(found)


def _pores(places: Float[np.ndarray, "W 3"], seed: int) -> Float[np.ndarray, "W"]:
    """1 in the middle of a pore: points of a shaken lattice, near enough to the surface to mark it."""
    cells = np.unique(np.floor(places / PORE_SPACING).astype(int), axis=0)
    shake = np.random.default_rng(seed).uniform(0.1, 0.9, cells.shape)
    distance = KDTree((cells + shake) * PORE_SPACING).query(places)[0]
    return np.exp(-((distance / PORE_RADIUS) ** 2))


def _groove(distance: Float[np.ndarray, "W"], width: float) -> Float[np.ndarray, "W"]:
    """A valley of this half-width with softly raised banks."""
    t = (distance / width) ** 2
    return (1 - 0.5 * t) * np.exp(-0.5 * t)


def _forehead(
    x: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"], wobble: Float[np.ndarray, "W"]
) -> Float[np.ndarray, "W"]:
    lines = np.zeros(len(x))
    for i, height in enumerate((0.037, 0.0445, 0.0525, 0.061)):
        bow = height + 0.003 * np.cos(x / 0.016) + 0.0025 * wobble
        lines += (0.38 - 0.05 * i) * MILLIMETRE * _groove(y - bow, 0.0016)
    return lines * smooth_step(np.abs(x), 0.052, 0.03)


def _frown(x: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"]) -> Float[np.ndarray, "W"]:
    span = smooth_step(y, 0.008, 0.016) * smooth_step(y, 0.038, 0.028)
    return 0.4 * MILLIMETRE * span * _groove(np.abs(x) - 0.0055 - 0.08 * (y - 0.02), 0.0014)


def _crows_feet(out: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"]) -> Float[np.ndarray, "W"]:
    across, up = out - 0.043, y + 0.002
    radius, angle = np.hypot(across, up), np.arctan2(up, across)
    span = smooth_step(radius, 0.004, 0.009) * smooth_step(radius, 0.024, 0.015)
    rays = [_groove((angle - a) * radius, 0.0011) for a in (-0.75, -0.3, 0.1, 0.5)]
    return 0.35 * MILLIMETRE * span * np.sum(rays, 0)


def _under_eye(out: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"]) -> Float[np.ndarray, "W"]:
    arc = ((out - 0.030) / 0.020) ** 2
    span = smooth_step(np.abs(out - 0.029), 0.018, 0.010)
    lines = [depth * _groove(y - low - 0.006 * arc, 0.0013) for low, depth in ((-0.0115, 0.25), (-0.0165, 0.3))]
    return MILLIMETRE * span * np.sum(lines, 0)


def _nasolabial(out: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"]) -> Float[np.ndarray, "W"]:
    down = (-0.036 - y) / 0.034  # 0 beside the nose, 1 beside the mouth
    fold = 0.0165 + 0.014 * np.clip(down, 0, 1.2) ** 0.9
    span = smooth_step(down, -0.05, 0.15) * smooth_step(down, 1.15, 0.75)
    return 0.4 * MILLIMETRE * span * _groove(out - fold, 0.002)


def _lid_crease(out: Float[np.ndarray, "W"], y: Float[np.ndarray, "W"]) -> Float[np.ndarray, "W"]:
    arc = 0.0085 - 0.006 * ((out - 0.029) / 0.016) ** 2
    span = smooth_step(np.abs(out - 0.029), 0.017, 0.012)
    return 0.4 * MILLIMETRE * span * _groove(y - arc, 0.0010)


def _neck_lines(space: FaceSpace) -> Float[np.ndarray, "W"]:
    x, y, z = space.places.T
    lines = [_groove(y - low - 0.25 * np.abs(x), 0.0018) for low in (-0.135, -0.155)]
    return 0.3 * MILLIMETRE * np.sum(lines, 0) * space.regions["neck"] * smooth_step(z, -0.01, 0.02)
