"""A pair of glasses without lenses: two rims, a bridge and temples, of tubes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flare_cli.data.celebamask import Label
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.parts import Gloss, OnSkull, evenly, tubes

GLOSS = Gloss(roughness=0.25, specular=1.0)
FRAMES = ((0.012, 0.011, 0.011), (0.05, 0.022, 0.010), (0.03, 0.03, 0.045))
HALF_WIDTH, HALF_HEIGHT, RADIUS = 0.0255, 0.0205, 0.0016  # of a rim, metres
VERTEX_DISTANCE = 0.012  # from the eye's front to the lens, the optician's usual
SQUARENESS = 2.8  # exponent of the rim's superellipse
APART = 1.08  # the rims' middles, relative to the eyes'
WRAP = 0.12  # radius of the circle that the frame bends back along, metres


def glasses(
    rest: Float[np.ndarray, "V 3"], space: FaceSpace, eye_centres: Float[np.ndarray, "2 3"], seed: int
) -> OnSkull:
    """Glasses that fit a head at rest: before the eyes, over the ears."""
    eyes, brows = (rest[space.regions[name] > 0.4] for name in ("eyes", "brows"))
    plane = max(eyes[:, 2].max() + VERTEX_DISTANCE, np.quantile(brows[:, 2], 0.8) + 0.004)
    height = eye_centres[:, 1].mean() - 0.003
    middles = APART * eye_centres[:, 0]
    ears = rest[space.regions["ears"] > 0.5]
    paths = [(_rim(middle, height, plane), True) for middle in middles]
    paths.append((_bridge(float(np.abs(middles).min()) - HALF_WIDTH, height, plane), False))
    for middle in middles:
        side = np.sign(middle)
        hinge = np.array([middle + side * HALF_WIDTH, height + 0.008, 0.0])
        hinge[2] = plane - hinge[0] ** 2 / (2 * WRAP)
        own = ears[ears[:, 0] * side > 0]
        paths.append((_temple(hinge, own[own[:, 1].argmax()], side), False))
    pieces = [tubes(path[None], np.full((1, len(path)), RADIUS), sides=6, closed=closed) for path, closed in paths]
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    faces = np.concatenate([faces + start for (_, faces), start in zip(pieces, starts, strict=False)])
    colours = np.tile(np.array(FRAMES[seed % len(FRAMES)]), (len(vertices), 1))
    return OnSkull(vertices=vertices, faces=faces, paint=evenly(colours, GLOSS, Label.GLASSES))


def _rim(middle: float, height: float, plane: float) -> Float[np.ndarray, "N 3"]:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across, up = (np.sign(wave) * np.abs(wave) ** (2 / SQUARENESS) for wave in (np.cos(turn), np.sin(turn)))
    x = middle + HALF_WIDTH * across
    return np.stack([x, height + HALF_HEIGHT * up, plane - x**2 / (2 * WRAP)], 1)


def _bridge(inner: float, height: float, plane: float) -> Float[np.ndarray, "N 3"]:
    x = np.linspace(-inner, inner, 9)
    return np.stack([x, height + 0.006 + 0.003 * np.cos(x / inner * 1.5), plane - x**2 / (2 * WRAP) + 0.001], 1)


def _temple(hinge: Float[np.ndarray, "3"], ear: Float[np.ndarray, "3"], side: float) -> Float[np.ndarray, "N 3"]:
    """From the rim around the corner to the top of the ear, and down behind it."""
    over = ear + np.array([-side * 0.004, 0.001, 0.004])
    corner, half = hinge + np.array([side * 0.004, 0, -0.006]), 0.5 * (hinge + over) + np.array([side * 0.004, 0, 0])
    return np.stack([hinge, corner, half, over, over + np.array([-side * 0.002, -0.02, -0.02])])
