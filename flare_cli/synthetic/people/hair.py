"""Hair as geometry: thin tubes that grow from the skin, combed, pulled down, and kept off it; or a cap of relief.

Lengths are metres; directions are those of the head at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from flare_cli.data.celebamask import Label
from flare_cli.synthetic.paint import HAIRS, Noise, smooth_step
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.parts import Gloss, OnSkin, OnSkull, evenly, on_skin, tubes, unit
from flare_cli.synthetic.people.recipe import HairKind, PersonRecipe

GLOSS = Gloss(roughness=0.42, specular=0.9)
CAP_DEPTH = 0.010  # metres
PARTING = 0.012  # of long hair, to the subject's left, metres
# On the template, seen from the side: by how far forward (z) a place is, how high (y) hair begins there. From before
# the ear over the temple to the middle of the forehead.
HAIRLINE = ((0.000, 0.022, 0.035, 0.050, 0.070, 0.090, 0.100), (0.0, -0.022, 0.018, 0.042, 0.056, 0.065, 0.069))
# Long hair leaves the face free: before the ears it hangs at least this far to the side (x) at a height (y), metres.
CURTAIN = ((-0.12, 0.0, 0.045, 0.075), (0.060, 0.066, 0.055, 0.0))
FOREMOST = ((-0.16, -0.10, 0.02, 0.06, 0.075), (0.2, 0.05, 0.05, 0.09, 0.2))  # how far forward it hangs (z) at a height


@dataclass(frozen=True, slots=True, kw_only=True)
class HairStyle:
    """How a head of hair is grown: how many hairs, how long, in how many pieces, and what bends them."""

    count: int
    length: tuple[float, float]
    pieces: int
    radius: float
    lift: float  # of the first piece, along the normal, against 1 of the comb
    weight: float  # how fast hairs turn downwards, per piece
    layers: tuple[float, float]  # how far above the skin hairs lie at least
    clumps: int  # locks; hairs gather towards their middles
    gather: float  # how much at the tip, 0..1


STYLES: dict[HairKind, HairStyle] = {
    "cap": HairStyle(
        count=13000, length=(0.008, 0.02), pieces=3, radius=0.00032, lift=0.4, weight=0.05, layers=(0.0, 0.004),
        clumps=900, gather=0.5,
    ),
    "strands": HairStyle(
        count=20000, length=(0.02, 0.045), pieces=4, radius=0.00030, lift=0.7, weight=0.12, layers=(0.001, 0.012),
        clumps=1200, gather=0.6,
    ),
    "long": HairStyle(
        count=5500, length=(0.20, 0.28), pieces=15, radius=0.0006, lift=0.1, weight=0.55, layers=(0.002, 0.012),
        clumps=260, gather=0.75,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What hair grows from: the skin at rest, what it is; and what it lies on, points with normals: skin and shirt."""

    vertices: Float[np.ndarray, "W 3"]
    normals: Float[np.ndarray, "W 3"]
    faces: Int[np.ndarray, "F 3"]
    space: FaceSpace
    obstacles: tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]

    def roots(
        self, share: Float[np.ndarray, "W"], count: int, random: np.random.Generator
    ) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N 3"]]:
        """Faces and places in them, drawn by area times `share`, of which what is below 0 counts as 0."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        mass = np.linalg.norm(np.cross(b - a, c - a), axis=1) * share[self.faces].min(1).clip(0)
        face = random.choice(len(mass), count, p=mass / mass.sum())
        u, v = random.uniform(size=(2, count, 1))
        flip = u + v > 1
        u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
        return face, (1 - u - v) * a[face] + u * b[face] + v * c[face]


def hair_colour(recipe: PersonRecipe) -> Float[np.ndarray, "3"]:
    """Linear albedo: dark brown, black, blond or auburn, the fairer ones on fairer skin."""
    among = {"light": (0, 1, 2, 3), "medium": (0, 1, 3), "dark": (0, 1)}[recipe.skin]
    return np.array(HAIRS[np.random.default_rng(recipe.seed + 3).choice(among)])


def scalp_cover(space: FaceSpace, faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V"]:
    """How much hair covers each vertex of the control mesh, 0..1, falling off smoothly at the hairline."""
    scalp = (space.regions["scalp"] > 0.5) | (space.places[:, 1] > np.interp(space.places[:, 2], *HAIRLINE))
    cover = scalp.astype(float)
    uses = np.maximum(np.bincount(faces.ravel(), minlength=len(cover)), 1)
    bare = (space.regions["skin"] < 0.5) | (space.regions["ears"] > 0.3) | _under_ear(space)
    for _ in range(3):
        cover = np.bincount(faces.ravel(), np.repeat(cover[faces].mean(1), 3), len(cover)) / uses
        cover[bare] = 0
    return cover


def _under_ear(space: FaceSpace) -> Bool[np.ndarray, "V"]:
    """Side burns end at the ear's lobe; in front of its middle below it nothing grows."""
    ears = space.places[space.regions["ears"] > 0.5]
    lobe = ears[ears[:, 1].argmin()]
    return (space.places[:, 1] < lobe[1] + 0.015) & (space.places[:, 2] > lobe[2])


def cap_relief(cover: Float[np.ndarray, "W"], places: Float[np.ndarray, "W 3"], noise: Noise) -> Float[np.ndarray, "W"]:
    """How far a cap of hair stands off the skull, metres: full a little inside the hairline, in combed locks."""
    locks = 1 + 0.22 * noise(places * [1, 0.4, 0.5], 0.012, octaves=3, shift=21) + 0.2 * noise(places, 0.05, shift=22)
    return CAP_DEPTH * smooth_step(cover, 0.3, 1.0) * locks


def cap_tone(places: Float[np.ndarray, "W 3"], noise: Noise) -> Float[np.ndarray, "W"]:
    """Lighter and darker strands under the hair that stands out."""
    return np.clip(0.75 + 0.35 * noise(places * [1, 0.25, 0.35], 0.003, octaves=2, shift=23), 0.25, 1.5)


def stubble(
    ground: Ground, area: Float[np.ndarray, "W"], amount: float, colour: Float[np.ndarray, "3"], seed: int
) -> OnSkin:
    """A few days' beard: short hairs that point down and stand off a little."""
    down = np.array([0.0, -1.0, 0.25])
    way = unit(down - (ground.normals @ down)[:, None] * ground.normals + 0.6 * ground.normals)
    return short_hairs(
        ground,
        area,
        way,
        count=int(9000 * amount),
        length=(0.0006, 0.0008 + 0.002 * amount),
        radius=0.00007,
        colour=0.6 * colour,
        labels=(Label.SKIN, Label.SKIN),
        random=np.random.default_rng(seed + 47),
    )


def hair_of_head(ground: Ground, cover: Float[np.ndarray, "W"], recipe: PersonRecipe) -> OnSkull:
    """The hair of the head. `cover` as `scalp_cover`, on the ground's mesh."""
    kind, seed = recipe.hair, recipe.seed
    style, random = STYLES[kind], np.random.default_rng(seed + 71)
    face, start = ground.roots(smooth_step(cover, 0.35, 0.7), style.count, random)
    paths = _grown(ground, face, start, kind, random)
    # Nearest root of a lock on the same side of the parting: a hair must not be drawn through the head.
    sided = np.c_[start, 0.2 * (start[:, 0] > PARTING)]
    guide = KDTree(sided[: style.clumps]).query(sided)[1]
    along = np.linspace(0, 1, style.pieces + 1)
    gather = (style.gather * along**1.2)[None, :, None]
    offset = 0.25 * (start - start[guide])[:, None]
    paths = paths + gather * (paths[guide] + offset - paths)
    thin = np.repeat((style.radius * (1.05 - along**3))[None], style.count, 0)
    vertices, faces = tubes(paths, thin * random.uniform(0.7, 1.3, (style.count, 1)))
    tone = np.exp(random.normal(0, 0.22, (style.count, 1)) + random.normal(0, 0.18, (style.clumps, 1))[guide])
    grey = tone[:, :, None] * hair_colour(recipe) * (0.75 + 0.45 * along)[None, :, None]
    colours = np.repeat(grey.reshape(-1, 3), 3, 0)
    return OnSkull(vertices=vertices, faces=faces, paint=evenly(colours, GLOSS, Label.HAIR))


def _grown(
    ground: Ground,
    face: Int[np.ndarray, "N"],
    start: Float[np.ndarray, "N 3"],
    kind: HairKind,
    random: np.random.Generator,
) -> Float[np.ndarray, "N K 3"]:
    """Polylines from the roots: a piece goes on from the last, bends to the comb and down, and stays off the skin."""
    style, (solid, solid_normals) = STYLES[kind], ground.obstacles
    near = KDTree(solid)
    length = random.uniform(*style.length, (len(start), 1)) / style.pieces
    layer = random.uniform(*style.layers, len(start))
    root_normal = unit(ground.normals[ground.faces[face]].mean(1))
    comb = _comb(start, kind, random)
    comb = unit(comb - (comb * root_normal).sum(1, keepdims=True) * root_normal)
    direction = unit(comb + style.lift * root_normal + 0.12 * random.standard_normal(start.shape))
    points = [start]
    for piece in range(style.pieces):
        place = points[-1] + length * direction
        index = near.query(place)[1]
        normal = solid_normals[index]
        height = ((place - solid[index]) * normal).sum(1)
        wanted = layer * min(1, (piece + 1) / 3)
        # No farther than a piece is long: beside the ears the nearest place may face anywhere.
        place = place + np.clip(wanted - height, 0, length[:, 0])[:, None] * normal
        if kind == "long":
            place = _beside_face(place, start)
        went = unit(place - points[-1])
        points.append(points[-1] + length * went)
        down = np.array([0.0, -1.0, 0.0])
        direction = unit(went + style.weight * down + 0.05 * random.standard_normal(start.shape))
    return np.stack(points, 1)


def _beside_face(place: Float[np.ndarray, "N 3"], start: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Moved to its root's side of the face, and back, where it would hang before it."""
    x, y, z = place.T
    side = np.sign(start[:, 0] - PARTING)
    free = np.interp(y, *CURTAIN) * smooth_step(z, 0.0, 0.03)
    return np.stack([np.where(side * x < free, side * free, x), y, np.minimum(z, np.interp(y, *FOREMOST))], 1)


def _comb(start: Float[np.ndarray, "N 3"], kind: HairKind, random: np.random.Generator) -> Float[np.ndarray, "N 3"]:
    """Which way hair is combed at its root: from a parting to the sides and back, or forward and to one side."""
    x, _, z = start.T
    if kind == "long":
        parting = x - PARTING + 0.004 * random.standard_normal(len(x)) * (z < 0.04)
        return np.stack([1.2 * np.sign(parting), np.full(len(x), -0.5), -0.6 - 6 * np.maximum(z, 0)], 1)
    swirl = 0.25 * random.standard_normal(len(x))
    return np.stack([0.45 + swirl + 4 * x, -0.35 - 3 * np.abs(x), 0.25 + 6 * z + swirl], 1)


def short_hairs(
    ground: Ground,
    share: Float[np.ndarray, "W"],
    directions: Float[np.ndarray, "W 3"],
    *,
    count: int,
    length: tuple[float, float],
    radius: float,
    colour: Float[np.ndarray, "3"],
    labels: tuple[Label, Label],
    random: np.random.Generator,
    curl: Float[np.ndarray, "3"] | None = None,
) -> OnSkin:
    """Hairs of two pieces that stand on the skin and turn with it. `curl` is added to the direction of the second.

    `labels` are the left side's and the right's.
    """
    face, start = ground.roots(share, count, random)
    corners = ground.faces[face]
    normal = unit(ground.normals[corners].mean(1))
    way = unit(directions[corners].mean(1) + 0.18 * random.standard_normal(start.shape))
    reach = random.uniform(*length, (count, 1))
    middle = start + 0.5 * reach * way
    tip = middle + 0.5 * reach * (way if curl is None else unit(way + curl))
    paths = np.stack([start - 0.0004 * normal, middle, tip], 1)
    vertices, faces = tubes(paths, np.array([radius, radius, 0.25 * radius]) * np.ones((count, 1)))
    tone = np.repeat(colour * np.exp(random.normal(0, 0.2, (count, 1))), 9, 0)
    paint = evenly(tone, GLOSS, labels[0])
    paint.labels[:] = np.repeat(np.where(start[:, 0] > 0, int(labels[0]), int(labels[1])), 9)
    return on_skin(vertices, faces, paint, skin=ground.vertices, roots=np.repeat(corners, 9, 0))
