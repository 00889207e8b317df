"""Brows and lashes: small hairs on the skin, where the open head's template has them (`face_space.py`)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from flare_cli.data.celebamask import Label
from flare_cli.synthetic.paint import smooth_step
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.hair import Ground, short_hairs
from flare_cli.synthetic.people.parts import OnSkin, unit

# The middle line of the subject's left brow on the template, from the nose outwards (x, y), and its half height.
BROW_X, BROW_Y = (0.011, 0.020, 0.030, 0.040, 0.048, 0.0565), (0.0175, 0.0205, 0.0222, 0.0222, 0.0195, 0.0135)
BROW_HALF = (0.0035, 0.0045, 0.0042, 0.0035, 0.0026, 0.0012)
# MediaPipe's points along the lids, from the outer corner to the inner one: the subject's left, then right.
UPPER = ((263, 466, 388, 387, 386, 385, 384, 398, 362), (33, 246, 161, 160, 159, 158, 157, 173, 133))
LOWER = ((263, 249, 390, 373, 374, 380, 381, 382, 362), (33, 7, 163, 144, 145, 153, 154, 155, 133))


def brow_share(space: FaceSpace) -> Float[np.ndarray, "W"]:
    """How much of a brow a vertex wears, 0..1."""
    x, y, z = space.places.T
    out = np.abs(x)
    off = np.abs(y - np.interp(out, BROW_X, BROW_Y)) / np.interp(out, BROW_X, BROW_HALF)
    ends = smooth_step(out, BROW_X[0] - 0.002, BROW_X[0] + 0.003) * smooth_step(
        out, BROW_X[-1] + 0.002, BROW_X[-1] - 0.004
    )
    return smooth_step(off, 1.1, 0.4) * ends * (z > 0.06) * np.clip(space.regions["skin"], 0, 1)


def brow_hairs(ground: Ground, colour: Float[np.ndarray, "3"], seed: int) -> OnSkin:
    """Hairs that point up beside the nose and outwards farther out."""
    out = np.abs(ground.space.places[:, 0])
    side = np.sign(ground.space.places[:, 0])
    upward = np.interp(out, BROW_X, (1.2, 0.7, 0.25, -0.05, -0.3, -0.6))
    way = unit(np.stack([side, upward, np.full(len(out), -0.25)], 1))
    way = unit(way - (way * ground.normals).sum(1, keepdims=True) * ground.normals + 0.25 * ground.normals)
    return short_hairs(
        ground,
        brow_share(ground.space) ** 1.5,
        way,
        count=900,
        length=(0.004, 0.0085),
        radius=0.00013,
        colour=0.8 * colour,
        labels=(Label.BROW_LEFT, Label.BROW_RIGHT),
        random=np.random.default_rng(seed + 41),
    )


def lashes(
    ground: Ground, points: Float[np.ndarray, "478 3"], colour: Float[np.ndarray, "3"], seed: int
) -> tuple[OnSkin, ...]:
    """Two rows an eye, from the lids' edges outwards, curled. `points` are MediaPipe's on the template."""
    rows = []
    for up, lids in ((1.0, UPPER), (-1.0, LOWER)):
        share = np.zeros(len(ground.vertices))
        for lid in lids:
            share = np.maximum(share, _near_line(ground, points[list(lid)]))
        out, side = np.abs(ground.space.places[:, 0]), np.sign(ground.space.places[:, 0])
        way = unit(np.stack([side * (out - 0.027) / 0.02, np.full(len(out), 0.35 * up), np.full(len(out), 1.0)], 1))
        rows.append(
            short_hairs(
                ground,
                share,
                way,
                count=220 if up > 0 else 120,
                length=(0.006, 0.009) if up > 0 else (0.003, 0.005),
                radius=0.00012 if up > 0 else 0.00008,
                colour=0.3 * colour,
                labels=(Label.EYE_LEFT, Label.EYE_RIGHT),
                random=np.random.default_rng(seed + 43),
                curl=np.array([0.0, 0.8 * up, 0.0]),
            )
        )
    return tuple(rows)


def _near_line(ground: Ground, line: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "W"]:
    """1 on skin within a millimetre of a line that runs through points on the template."""
    fine = np.linspace(0, len(line) - 1, 80)
    dense = np.stack([np.interp(fine, np.arange(len(line)), line[:, axis]) for axis in range(3)], 1)
    distance = KDTree(dense[6:-2]).query(ground.space.places)[0]
    return smooth_step(distance, 0.0014, 0.0006) * (ground.space.regions["skin"] > 0.5)
