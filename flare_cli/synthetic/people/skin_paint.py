"""Colour, gloss and label of everything that the head's own mesh shows: skin, lips, eyes, mouth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from flare_cli.data.celebamask import Label
from flare_cli.synthetic.paint import ALBEDO_RANGE, ROUGHNESS_RANGE, Noise, smooth_step
from flare_cli.synthetic.people.eyes import WET, eye_colours, iris_colour
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.parts import Gloss, Paint
from flare_cli.synthetic.people.recipe import PersonRecipe, SkinKind
from flare_cli.synthetic.people.skin_colour import skin_albedo
from flare_cli.synthetic.people.skin_detail import pore_share

# Volume fraction of melanosomes (skin_colour.py: Jacques' light, medium, dark), and of blood.
MELANIN: dict[SkinKind, float] = {"light": 0.038, "medium": 0.12, "dark": 0.32}
BLOOD = 0.009
TEETH, TONGUE, INNER_MOUTH = np.array([0.66, 0.58, 0.45]), np.array([0.45, 0.17, 0.15]), np.array([0.30, 0.09, 0.08])
SKIN = Gloss(roughness=0.5, specular=0.7, sharp=0.35)
LIP, TOOTH, MOUTH = (
    Gloss(roughness=0.36, specular=0.8),
    Gloss(roughness=0.22, specular=1.0),
    Gloss(roughness=0.35, specular=0.9),
)
# Of the template's rows of teeth: middle of the arch (z) and its radius; where teeth meet along it, from the midline
# (metres; mean crown widths: Wheeler's Dental Anatomy).
TOOTH_ARCH = (0.076, 0.0285)
UPPER_GAPS, LOWER_GAPS = (
    np.array([0, 8.5, 15.0, 22.5, 29.5, 36.5]) / 1000,
    np.array([0, 5, 10.5, 17.5, 24.5, 31.5]) / 1000,
)
STUBBLE_TINT = np.array([0.62, 0.66, 0.72])  # of skin over dark roots: greyer and bluer


def skin_paint(space: FaceSpace, eyes: Float[np.ndarray, "W 3"], recipe: PersonRecipe) -> Paint:
    """Paint of a head's mesh. `eyes` are offsets from the nearer eyeball's centre, metres."""
    noise = Noise(recipe.seed + 1000)
    regions = space.regions
    albedo = skin_albedo(*pigments(space, noise, recipe))
    albedo = albedo * (1 - (recipe.stubble * _beard_shade(space, noise))[:, None] * (1 - STUBBLE_TINT))
    gloss = skin_gloss(space, noise)
    tone = 1 + 0.08 * noise(space.places, 0.004, octaves=2)[:, None]
    materials = (
        ("inner_mouth", INNER_MOUTH * tone, MOUTH),
        ("tongue", TONGUE * tone, MOUTH),
        ("teeth", TEETH * tone * (1 - 0.6 * _between_teeth(space, recipe))[:, None], TOOTH),
        ("eye_sockets", np.array([0.45, 0.2, 0.17]) * tone, MOUTH),
        ("eyes", eye_colours(eyes, noise, iris_colour(recipe)), WET),
    )
    for name, colours, material in materials:
        where = regions[name] > 0.5
        albedo[where] = colours[where]
        for key, value in (("roughness", material.roughness), ("specular", material.specular), ("sharp", 0.0)):
            gloss[key][where] = value
    return Paint(
        albedo=albedo.clip(*ALBEDO_RANGE),
        roughness=gloss["roughness"].clip(*ROUGHNESS_RANGE),
        specular=gloss["specular"],
        sharp=gloss["sharp"],
        labels=region_labels(space),
    )


def pigments(
    space: FaceSpace, noise: Noise, recipe: PersonRecipe
) -> tuple[Float[np.ndarray, "W"], Float[np.ndarray, "W"]]:
    """Melanin and blood, as volume fractions: blotches at several scales, freckles, moles, redness."""
    places, regions = space.places, space.regions
    x, y, z = places.T
    out = np.abs(x)
    cheek = _bump(out, 0.040, 0.016) * _bump(y, -0.035, 0.017) * (z > 0.05)
    tip = regions["nose"] * smooth_step(z, 0.108, 0.122)
    around_eye = _bump(out, 0.029, 0.02) * _bump(y, -0.006, 0.014) * smooth_step(z, 0.07, 0.09)
    chin = _bump(x, 0, 0.015) * _bump(y, -0.095, 0.012)
    lips = smooth_step(regions["lips"], 0.35, 0.65)

    patches = 0.12 * noise(places, 0.035, octaves=3) + 0.06 * noise(places, 0.004, octaves=2, shift=1)
    freckled = np.clip(cheek + 0.8 * regions["nose"] + 0.3 * regions["face"], 0, 1)
    spots = smooth_step(noise(places, 0.0032, shift=3) + 0.4 * noise(places, 0.02, shift=4), 0.62, 0.85)
    light = recipe.skin == "light"
    melanin = MELANIN[recipe.skin] * np.exp(patches + 0.25 * around_eye - 0.25 * lips)
    melanin = melanin * (1 + (0.9 if light else 0.35) * freckled * spots + 3 * _moles(space, recipe.seed))

    flush = 0.022 * cheek + 0.028 * tip + 0.02 * regions["ears"] + 0.01 * chin + 0.012 * around_eye
    patchy = np.exp(0.3 * noise(places, 0.018, octaves=2, shift=6) + 0.2 * noise(places, 0.0025, octaves=2, shift=7))
    blood = (BLOOD + flush) * patchy + 0.045 * lips * np.exp(0.3 * noise(places, 0.003, shift=8))
    return melanin, blood


def skin_gloss(space: FaceSpace, noise: Noise) -> dict[str, Float[np.ndarray, "W"]]:
    """Gloss of bare skin and lips: forehead, nose and upper cheeks shine, the rest is matter."""
    x, y, z = space.places.T
    regions = space.regions
    forehead = _bump(x, 0, 0.03) * _bump(y, 0.045, 0.02)
    cheekbone = _bump(np.abs(x), 0.045, 0.014) * _bump(y, -0.022, 0.012)
    oily = np.clip(forehead + regions["nose"] + 0.8 * cheekbone, 0, 1) * smooth_step(z, 0.05, 0.08)
    lips = smooth_step(regions["lips"], 0.35, 0.65)
    roughness = SKIN.roughness - 0.1 * oily + 0.05 * noise(space.places, 0.012) + 0.03 * noise(space.places, 0.002)
    roughness = roughness + lips * (LIP.roughness - roughness)
    specular = SKIN.specular + 0.12 * oily - 0.15 * pore_share(space) * (noise(space.places, 0.0017) > 0.4)
    return {
        "roughness": roughness,
        "specular": specular + lips * (LIP.specular - specular),
        "sharp": SKIN.sharp * (1 - lips),
    }


def region_labels(space: FaceSpace) -> Int[np.ndarray, "W"]:
    """CelebAMask-19 numbers of the bare head."""
    regions = space.regions
    left = space.places[:, 0] > 0
    # Where the lips meet on the template, at rest.
    upper = space.places[:, 1] > -0.066
    labels = np.full(len(left), int(Label.SKIN))

    def put(where: Bool[np.ndarray, "W"], label: Label, right: Label | None = None) -> None:
        labels[where] = np.where(left[where], int(label), int(label if right is None else right))

    put(regions["neck"] > 0.5, Label.NECK)
    put(regions["nose"] > 0.5, Label.NOSE)
    put(regions["ears"] > 0.5, Label.EAR_LEFT, Label.EAR_RIGHT)
    put((regions["lips"] > 0.5) & upper, Label.LIP_UPPER)
    put((regions["lips"] > 0.5) & ~upper, Label.LIP_LOWER)
    put(np.max([regions[name] for name in ("inner_mouth", "teeth", "tongue")], 0) > 0.5, Label.MOUTH)
    put(regions["eyes"] > 0.5, Label.EYE_LEFT, Label.EYE_RIGHT)
    return labels


def beard_area(space: FaceSpace) -> Float[np.ndarray, "W"]:
    """Where a beard grows: jaw, chin, upper lip, and a little down the neck."""
    x, y, z = space.places.T
    out = np.abs(x)
    jaw = smooth_step(y - 0.35 * np.maximum(out - 0.025, 0), -0.050, -0.066)
    upper_lip = _bump(x, 0, 0.019) * smooth_step(y, -0.046, -0.050)
    area = np.maximum(jaw, upper_lip) * smooth_step(y, -0.135, -0.115) * smooth_step(z, 0.015, 0.035)
    bare = np.maximum(smooth_step(space.regions["lips"], 0.2, 0.5), space.regions["nose"])
    return area * (1 - bare) * np.clip(space.regions["skin"], 0, 1)


def _beard_shade(space: FaceSpace, noise: Noise) -> Float[np.ndarray, "W"]:
    roots = smooth_step(noise(space.places, 0.0011, octaves=2, shift=9), -0.3, 0.6)
    return beard_area(space) * (0.55 + 0.45 * roots)


def _between_teeth(space: FaceSpace, recipe: PersonRecipe) -> Float[np.ndarray, "W"]:
    """1 where two teeth of the open head meet, whose rows are of one piece; an ICT head's teeth are apart."""
    x, y, z = space.places.T
    if recipe.head == "ict":
        return np.zeros(len(x))
    along = TOOTH_ARCH[1] * np.arctan2(np.abs(x), z - TOOTH_ARCH[0])
    gaps = np.where(y[:, None] > -0.0695, UPPER_GAPS, LOWER_GAPS)
    return np.exp(-((np.abs(along[:, None] - gaps).min(1) / 0.0005) ** 2))


def _moles(space: FaceSpace, seed: int) -> Float[np.ndarray, "W"]:
    """A handful of small dark spots on face and neck."""
    random = np.random.default_rng(seed + 31)
    candidates = np.nonzero((space.regions["face"] > 0.9) | (space.regions["neck"] > 0.9))[0]
    total = np.zeros(len(space.places))
    for centre in space.places[random.choice(candidates, random.integers(2, 6))]:
        radius = random.uniform(0.0006, 0.0014)
        total += np.exp(-((np.linalg.norm(space.places - centre, axis=1) / radius) ** 4))
    return total


def _bump(t: Float[np.ndarray, "W"], centre: float, width: float) -> Float[np.ndarray, "W"]:
    return np.exp(-(((t - centre) / width) ** 2))
