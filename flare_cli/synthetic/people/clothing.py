"""A shirt: on the skin below the neckline, and over shoulders and chest that go on from the cut of the head's mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from flare_cli.data.celebamask import Label
from flare_cli.synthetic.paint import CLOTHS, Noise, smooth_step
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.parts import Gloss, Motion, Paint, evenly
from flare_cli.synthetic.people.recipe import ClothKind

GLOSS = Gloss(roughness=0.8, specular=0.4)
COLLAR_WIDTH, CLOTH_DEPTH = 0.040, 0.0045  # metres that the shirt covers above the cut, and how thick it lies
RIB_WIDTH, RIB_DEPTH = 0.012, 0.0016  # the hem's band and how much thicker it is
STRIPE, CHECK = 0.022, 0.026  # periods, metres
FINER, ROWS = 3, 72  # vertices of the body for an edge of the cut, and from it down: patterns need them
# The body below the cut: distance from the axis grows by these factors while it goes down by these lengths (metres).
BODY = ((1.12, 0.004), (1.3, 0.014), (1.5, 0.034), (1.66, 0.07), (1.74, 0.12), (1.76, 0.2))


def shirt_cover(space: FaceSpace, noise: Noise) -> Float[np.ndarray, "V"]:
    """1 where the skin wears the shirt, from the cut at the shoulders up to the neckline."""
    from_cut = KDTree(space.places[space.rim]).query(space.places)[0]
    edge = COLLAR_WIDTH + 0.003 * noise(space.places, 0.08)
    return np.where(space.regions["skin"] > 0.5, smooth_step(edge - from_cut, -0.008, 0.008), 0.0)


def rib(cover: Float[np.ndarray, "W"], space: FaceSpace) -> Float[np.ndarray, "W"]:
    """Where the hem's band is, 0..1: the last of the shirt below the neckline."""
    from_cut = KDTree(space.places[space.rim]).query(space.places)[0]
    return cover * smooth_step(from_cut, COLLAR_WIDTH - RIB_WIDTH - 0.001, COLLAR_WIDTH - RIB_WIDTH + 0.001)


def cloth_relief(cover: Float[np.ndarray, "W"], space: FaceSpace, noise: Noise) -> Float[np.ndarray, "W"]:
    """How far the shirt lies off the skin, metres: folds, and a thicker hem."""
    folds = 1 + 0.35 * noise(space.places, 0.03, octaves=2, shift=1)
    return smooth_step(cover, 0.47, 0.65) * CLOTH_DEPTH * folds + RIB_DEPTH * rib(cover, space)


def cloth_paint(places: Float[np.ndarray, "N 3"], ribbed: Float[np.ndarray, "N"], kind: ClothKind, seed: int) -> Paint:
    """Pattern and weave at places of the shirt at rest; the hem is of one colour."""
    noise = Noise(seed + 2000)
    first, second = np.random.default_rng(seed + 9).choice(len(CLOTHS), 2, replace=False)
    ground, accent = np.array(CLOTHS[first]), 0.25 + 0.75 * np.array(CLOTHS[second])
    x, y, _ = places.T
    if kind == "plain":
        share = np.zeros(len(places))
    elif kind == "stripes":
        share = _band(y / STRIPE)
    else:
        share = 0.5 * (_band(x / CHECK) + _band(y / CHECK))
    share = share * (1 - smooth_step(ribbed, 0.3, 0.7))
    weave = 1 + 0.10 * noise(places, 0.0016) + 0.08 * noise(places, 0.02, octaves=2)
    ribs = 1 - 0.25 * ribbed * (np.sin(np.arctan2(places[:, 0], places[:, 2] + 0.02) * 160) > 0)
    return evenly((ground + share[:, None] * (accent - ground)) * (weave * ribs)[:, None], GLOSS, Label.CLOTH)


def _band(t: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Bands of half a period with soft edges."""
    return smooth_step(np.abs(t % 1 - 0.5), 0.29, 0.21)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Shoulders and chest in the shirt. The first ring is the cut of the skin's mesh, so that nothing gapes."""

    rim: Int[np.ndarray, "R 2"]  # vertices of the skin, around: the ends of the cut's edges
    share: Float[np.ndarray, "R 1"]  # of the second end
    offsets: Float[np.ndarray, "K R 3"]
    faces: Int[np.ndarray, "F 3"]
    paint: Paint

    def placed(self, skin: Float[np.ndarray, "W 3"], skull: Motion) -> Float[np.ndarray, "V 3"]:
        """Hung from the cut; shoulders stay upright while the head turns."""
        del skull
        return self.rest(skin)

    def rest(self, skin: Float[np.ndarray, "W 3"]) -> Float[np.ndarray, "V 3"]:
        """Hung from the cut of a skin that has not moved."""
        return (_between(skin, self.rim, self.share) + self.offsets).reshape(-1, 3)


def body(
    skin: Float[np.ndarray, "W 3"], faces: Int[np.ndarray, "F 3"], space: FaceSpace, kind: ClothKind, seed: int
) -> Body:
    """The body of a person whose skin, dressed, is here at rest."""
    loop = _around(faces, space.rim)
    rim = np.repeat(np.stack([loop, np.roll(loop, -1)], 1), FINER, 0)
    share = np.tile(np.arange(FINER) / FINER, len(loop))[:, None]
    ring = _between(skin, rim, share)
    outward = (ring - ring.mean(0)) * [1, 0, 1]
    noise = Noise(seed + 2100)
    rows = np.linspace(0, len(BODY), ROWS)
    factors = np.interp(rows, np.arange(len(BODY) + 1), [1.0, *(factor for factor, _ in BODY)])
    drops = np.interp(rows, np.arange(len(BODY) + 1), [0.0, *(drop for _, drop in BODY)])
    offsets = (factors - 1)[:, None, None] * outward - drops[:, None, None] * np.array([0.0, 1.0, 0.0])
    away = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    folds = noise((ring + offsets).reshape(-1, 3) * [1, 0.5, 1], 0.05, octaves=2).reshape(len(rows), -1)
    offsets = offsets + (0.004 * np.minimum(rows, 1)[:, None] * folds)[..., None] * away
    count, k = len(rim), np.arange(len(rows) - 1)
    i, k = np.meshgrid(np.arange(count), k, indexing="ij")
    a, b = k * count + i, k * count + (i + 1) % count
    quads = np.stack([a, a + count, b + count, a, b + count, b], -1).reshape(-1, 3)
    places = (ring + offsets).reshape(-1, 3)
    return Body(
        rim=rim, share=share, offsets=offsets, faces=quads, paint=cloth_paint(places, np.zeros(len(places)), kind, seed)
    )


def _between(
    skin: Float[np.ndarray, "W 3"], ends: Int[np.ndarray, "R 2"], share: Float[np.ndarray, "R 1"]
) -> Float[np.ndarray, "R 3"]:
    """Places on edges of the skin."""
    return (1 - share) * skin[ends[:, 0]] + share * skin[ends[:, 1]]


def _around(faces: Int[np.ndarray, "F 3"], rim: np.ndarray) -> Int[np.ndarray, "R"]:
    """The vertices of the cut, one after the other, the surface to their left."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[rim[edges].all(1)]
    n = len(rim)
    keys, back = edges[:, 0] * n + edges[:, 1], edges[:, 1] * n + edges[:, 0]
    edges = edges[~np.isin(keys, back)]
    following = dict(edges.tolist())
    loop = [int(edges[0, 0])]
    while (following_one := following[loop[-1]]) != loop[0]:
        loop.append(following_one)
    return np.array(loop)
