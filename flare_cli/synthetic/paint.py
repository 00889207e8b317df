"""Procedural looks of a synthetic person: hair and collar as geometry, skin, lips, brows, eyes and cloth as paint.

Everything is a function of the seed and of places on the neutral head, so it stays put when the head moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from flare_cli.data.celebamask import Label
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel

# All numbers here were chosen by eye, for a person who looks plausible in `flare demo`: they are the truth of a
# synthetic recording, not a measurement of anybody.

# Linear albedo (red, green, blue). The seed picks one of each.
SKINS = ((0.52, 0.31, 0.22), (0.40, 0.22, 0.14), (0.24, 0.125, 0.08), (0.58, 0.38, 0.29))
HAIRS = ((0.075, 0.040, 0.022), (0.020, 0.016, 0.014), (0.28, 0.17, 0.08), (0.16, 0.055, 0.025))
IRISES = ((0.08, 0.20, 0.24), (0.10, 0.055, 0.02), (0.10, 0.16, 0.06), (0.16, 0.10, 0.03))
CLOTHS = ((0.03, 0.13, 0.16), (0.22, 0.03, 0.04), (0.30, 0.28, 0.24), (0.05, 0.06, 0.14))
LIPS, TEETH, TONGUE, INNER_MOUTH = (0.42, 0.15, 0.14), (0.70, 0.66, 0.55), (0.45, 0.18, 0.16), (0.30, 0.09, 0.08)
SCLERA, PUPIL = (0.74, 0.70, 0.66), (0.008, 0.008, 0.008)
# Half angles of iris and pupil, seen from the eyeball's centre, in radians.
IRIS_EDGE, PUPIL_EDGE = np.radians(23.0), np.radians(8.5)

HAIR_DEPTH, COLLAR_DEPTH, COLLAR_WIDTH = 0.016, 0.005, 0.042  # metres
# Perceptual roughness. Wet surfaces (lips, teeth, eyes) shine, cloth hardly does.
LIP_ROUGHNESS, MOUTH_ROUGHNESS, TOOTH_ROUGHNESS, EYE_ROUGHNESS = 0.3, 0.35, 0.2, 0.1
SKIN_ROUGHNESS, BROW_ROUGHNESS, HAIR_ROUGHNESS, CLOTH_ROUGHNESS = 0.5, 0.55, 0.5, 0.9
WEAVE_PERIOD = 0.012  # metres
# What the ray tracer is given stays within: black and white surfaces, mirrors and chalk do not occur on people.
ALBEDO_RANGE, ROUGHNESS_RANGE = (0.005, 0.95), (0.05, 1.0)


@dataclass(frozen=True, slots=True)
class Look:
    """Per-vertex appearance."""

    albedo: Float[np.ndarray, "V 3"]
    roughness: Float[np.ndarray, "V"]
    labels: Int[np.ndarray, "V"]


class Noise:
    """Value noise in space: smooth random numbers in -1..1 an octave, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._grid = np.random.default_rng(seed).uniform(-1, 1, (32, 32, 32))

    def __call__(
        self, places: Float[np.ndarray, "V 3"], size: float, *, octaves: int = 1, shift: float = 0.0
    ) -> Float[np.ndarray, "V"]:
        """Noise with blobs of about `size` metres; `shift` picks another independent pattern."""
        total, amplitude = np.zeros(len(places)), 1.0
        # Any shift that is no multiple of the grid's cells makes octaves and patterns look independent.
        for octave in range(octaves):
            cells = places.T * (2**octave / size) + 7.3 * octave + 3.1 * shift
            total += amplitude * map_coordinates(self._grid, cells, order=1, mode="grid-wrap")
            amplitude /= 2
        return total


def clothed(
    head: HeadModel, neutral: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"], seed: int
) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "V"], Float[np.ndarray, "V"]]:
    """What hair and collar add to the neutral head (displacements), and how much of each a vertex wears (0..1)."""
    noise = Noise(seed)
    regions = {name: mask.cpu().numpy() for name, mask in head.regions.items()}
    hair = _spread(head, regions["scalp"].astype(float), rounds=3)
    lobe = neutral[regions["ears"]].min(0)
    under_ear = (neutral[:, 1] < lobe[1] + 0.015) & (neutral[:, 2] > lobe[2])
    hair[~regions["skin"] | regions["ears"] | under_ear] = 0
    # The mask ends at the hairline; hair has its full depth a little inside it.
    depth = HAIR_DEPTH * smooth_step(hair, 0.35, 0.95) * (1 + 0.35 * noise(neutral, 0.03, octaves=2))
    rim = neutral[regions["boundary"] & regions["skin"]]
    from_rim = KDTree(rim).query(neutral)[0]
    # Wider than a control face, so that the smooth mesh finds a clean edge at one half.
    collar = np.where(
        regions["skin"], smooth_step(COLLAR_WIDTH + 0.003 * noise(neutral, 0.08) - from_rim, -0.012, 0.012), 0
    )
    folds = 1 + 0.3 * noise(neutral, 0.02, shift=1)
    added = (depth + COLLAR_DEPTH * folds * collar)[:, None] * normals
    return added, hair, collar


def painted(
    head: HeadModel,
    places: Float[np.ndarray, "W 3"],
    eye_centres: Float[np.ndarray, "2 3"],
    carry: Any,
    hair: Float[np.ndarray, "V"],
    collar: Float[np.ndarray, "V"],
    seed: int,
) -> Look:
    """Paint the smooth mesh. `carry` is its matrix from the head's vertices; `places` are neutral, without hair."""
    noise, pick = Noise(seed + 1000), np.random.default_rng(seed).integers(0, 4, 4) if seed else np.zeros(4, int)
    soft = {name: carry @ mask.cpu().numpy().astype(np.float64) for name, mask in head.regions.items()}
    left = places[:, 0] > 0
    look = _skin(places, soft, noise, np.array(SKINS[pick[0]]))
    albedo, roughness, labels = look.albedo, look.roughness, look.labels

    def put(where: Bool[np.ndarray, "W"], colour: Any, rough: float, label: int | None = None) -> None:
        albedo[where], roughness[where] = colour, rough
        if label is not None:
            labels[where] = label

    grain = noise(places, 0.002, octaves=2)
    upper = (carry @ head.weights[:, Joint.JAW].cpu().numpy()) < 0.5
    lips = soft["lips"] > 0.45
    put(lips, (np.array(LIPS) * (1 + 0.15 * noise(places, 0.004))[:, None])[lips], LIP_ROUGHNESS)
    labels[lips & upper], labels[lips & ~upper] = Label.LIP_UPPER, Label.LIP_LOWER
    put(soft["inner_mouth"] > 0.5, INNER_MOUTH, MOUTH_ROUGHNESS, Label.MOUTH)
    put(soft["teeth"] > 0.5, TEETH, TOOTH_ROUGHNESS, Label.MOUTH)
    put(soft["tongue"] > 0.5, TONGUE, MOUTH_ROUGHNESS, Label.MOUTH)

    hair_colour = np.array(HAIRS[pick[1]])
    strands = 1 + 0.5 * noise(places * [1, 0.25, 1], 0.003, octaves=2) + 0.25 * noise(places, 0.03)
    brows = soft["brows"] + 0.25 * grain > 0.5
    put(brows, (hair_colour * np.clip(strands, 0.3, 2)[:, None])[brows], BROW_ROUGHNESS)
    labels[brows & left], labels[brows & ~left] = Label.BROW_LEFT, Label.BROW_RIGHT
    wig = (carry @ hair) + 0.12 * noise(places, 0.006, octaves=2, shift=2) > 0.5
    put(wig, (hair_colour * np.clip(strands, 0.3, 2)[:, None])[wig], HAIR_ROUGHNESS, Label.HAIR)
    cloth = (carry @ collar) > 0.5
    weave = 1 + 0.5 * np.sin(places[:, 1] * 2 * np.pi / WEAVE_PERIOD) * 0.4 + 0.15 * grain
    put(cloth, (np.array(CLOTHS[pick[2]]) * weave[:, None])[cloth], CLOTH_ROUGHNESS, Label.CLOTH)
    eyes = soft["eyes"] > 0.5
    for side, label in enumerate((Label.EYE_LEFT, Label.EYE_RIGHT)):
        eye = eyes & (left if side == 0 else ~left)
        put(eye, _eye(places[eye] - eye_centres[side], noise, np.array(IRISES[pick[3]])), EYE_ROUGHNESS, label)
    return Look(albedo.clip(*ALBEDO_RANGE), roughness.clip(*ROUGHNESS_RANGE), labels)


def _skin(
    places: Float[np.ndarray, "V 3"],
    soft: dict[str, Float[np.ndarray, "V"]],
    noise: Noise,
    tone: Float[np.ndarray, "3"],
) -> Look:
    """Blotches, redness of nose, cheeks and ears, freckles; sharper shine on nose and forehead."""
    albedo = tone * (1 + 0.08 * noise(places, 0.025, octaves=3) + 0.05 * noise(places, 0.004, octaves=2))[:, None]
    cheek = np.exp(-(((np.abs(places[:, 0]) - 0.042) / 0.018) ** 2) - ((places[:, 1] + 0.035) / 0.018) ** 2)
    cheek *= places[:, 2] > 0.05
    red = np.clip(0.7 * cheek + 0.8 * soft["nose"] + 0.6 * soft["ears"], 0, 1) * (0.8 + 0.2 * noise(places, 0.02))
    albedo *= 1 + red[:, None] * np.array([0.06, -0.16, -0.18])
    freckled = np.clip(cheek + soft["nose"], 0, 1) * smooth_step(noise(places, 0.0035, shift=3), 0.45, 0.65)
    albedo *= 1 - freckled[:, None] * np.array([0.3, 0.4, 0.45])
    roughness = SKIN_ROUGHNESS + 0.06 * noise(places, 0.01) - 0.1 * soft["nose"]
    labels = np.full(len(places), Label.SKIN)
    labels[soft["neck"] > 0.5] = Label.NECK
    labels[soft["nose"] > 0.5] = Label.NOSE
    ears = soft["ears"] > 0.5
    labels[ears & (places[:, 0] > 0)], labels[ears & (places[:, 0] <= 0)] = Label.EAR_LEFT, Label.EAR_RIGHT
    return Look(albedo, roughness, labels)


def _eye(offsets: Float[np.ndarray, "N 3"], noise: Noise, iris: Float[np.ndarray, "3"]) -> Float[np.ndarray, "N 3"]:
    """Colours by the angle from the gaze axis: pupil, iris with spokes and a dark rim, white with faint veins."""
    angle = np.arccos(np.clip(offsets[:, 2] / np.linalg.norm(offsets, axis=1), -1, 1))
    around = np.arctan2(offsets[:, 1], offsets[:, 0])
    veins = smooth_step(np.abs(noise(offsets, 0.003, octaves=2)), 0.0, 0.1)
    white = np.array(SCLERA) * (
        1 - (1 - veins)[:, None] * np.array([0.03, 0.2, 0.2]) * smooth_step(angle, 0.5, 1.0)[:, None]
    )
    spokes = 1 + 0.4 * np.sin(17 * around) * np.sin(11 * around + 2)
    rim = 1 - 0.7 * smooth_step(angle, 0.8 * IRIS_EDGE, IRIS_EDGE)
    coloured = iris * (spokes * rim)[:, None]
    colours = np.where((angle < IRIS_EDGE)[:, None], coloured, white)
    return np.where((angle < PUPIL_EDGE)[:, None], np.array(PUPIL), colours)


def _spread(head: HeadModel, values: Float[np.ndarray, "V"], *, rounds: int) -> Float[np.ndarray, "V"]:
    """Blur values over the mesh: each round takes the mean over a vertex's faces."""
    faces = head.faces.cpu().numpy()
    uses = np.bincount(faces.ravel(), minlength=len(values))
    for _ in range(rounds):
        mean = values[faces].mean(1)
        values = np.bincount(faces.ravel(), np.repeat(mean, 3), len(values)) / np.maximum(uses, 1)
    return values


def smooth_step(x: Any, low: float, high: float) -> Any:
    """From 0 at `low` to 1 at `high` (which may be lower), without corners."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
