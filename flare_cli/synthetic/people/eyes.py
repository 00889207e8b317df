"""The look of eyeballs: iris with spokes and a dark rim, pupil, a white with veins that shades towards the lids."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flare_cli.synthetic.paint import Noise, smooth_step
from flare_cli.synthetic.people.parts import Gloss
from flare_cli.synthetic.people.recipe import PersonRecipe

# Linear albedo of the iris' middle tone: blue grey, brown, hazel, green.
IRISES = ((0.10, 0.16, 0.21), (0.085, 0.040, 0.016), (0.15, 0.095, 0.035), (0.10, 0.13, 0.06))
SCLERA, VEIN, LIMBUS = np.array([0.60, 0.54, 0.49]), np.array([0.50, 0.22, 0.18]), np.array([0.035, 0.028, 0.025])
# Half angles seen from the ball's centre, radians: an iris is 11.8 mm wide on a ball of 24 mm, the pupil 3.5 mm.
IRIS_EDGE, PUPIL_EDGE = np.radians(25.0), np.radians(8.0)
WET = Gloss(roughness=0.07, specular=0.9)


def iris_colour(recipe: PersonRecipe) -> Float[np.ndarray, "3"]:
    """The seed's, brown where skin is dark."""
    among = {"light": (0, 1, 2, 3), "medium": (1, 2, 3), "dark": (1, 1, 2)}[recipe.skin]
    return np.array(IRISES[np.random.default_rng(recipe.seed + 5).choice(among)])


def eye_colours(
    offsets: Float[np.ndarray, "N 3"], noise: Noise, iris: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "N 3"]:
    """Albedo of points given from the ball's centre, looking along +z."""
    angle = np.arccos(np.clip(offsets[:, 2] / np.linalg.norm(offsets, axis=1), -1, 1))
    around = np.arctan2(offsets[:, 1], offsets[:, 0])
    within = angle / IRIS_EDGE
    spokes = 0.35 * np.sin(23 * around + 2 * noise(offsets, 0.004)) * np.sin(9 * around + 1) + 0.35 * noise(
        offsets * [1, 1, 0], 0.0012, octaves=2
    )
    collar = 1 + 0.7 * np.exp(-(((within - 0.45) / 0.12) ** 2))  # lighter around the pupil
    coloured = iris * ((1 + spokes) * collar)[:, None]
    coloured = _mixed(coloured, LIMBUS, 0.85 * smooth_step(within, 0.78, 0.97))
    coloured = _mixed(coloured, np.full(3, 0.006), smooth_step(angle, PUPIL_EDGE + 0.02, PUPIL_EDGE - 0.02))
    return _mixed(coloured, _white(offsets, angle, noise), smooth_step(within, 0.95, 1.08))


def _white(offsets: Float[np.ndarray, "N 3"], angle: Float[np.ndarray, "N"], noise: Noise) -> Float[np.ndarray, "N 3"]:
    veins = np.exp(-((noise(offsets * [0.5, 1, 1], 0.004, octaves=2) / 0.07) ** 2)) * smooth_step(angle, 0.55, 1.1)
    inner = smooth_step(angle, 0.9, 1.4)  # redder towards the corners
    return _mixed(_mixed(np.tile(SCLERA, (len(offsets), 1)), VEIN, 0.45 * veins), VEIN, 0.3 * inner)


def _mixed(
    a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "*N 3"], share: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N 3"]:
    return a + share[:, None] * (b - a)
