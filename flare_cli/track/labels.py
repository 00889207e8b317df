"""Label images and fit masks from what we have: the matte, the landmarks, the tracked head and colours.

No parsing network is used. Skin, hair and cloth are told apart by colour models learned from the recording itself,
where the tracked head says what is certain; eyes, brows and lips are landmark outlines.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import gaussian_filter

from flare_cli.track.landmarks import FACE_OVAL, LEFT_LIDS, RIGHT_LIDS
from flare_cli.track.matte import guided_filter
from flare_cli.track.projected_head import ProjectedHead
from flare_cli.track.threads import in_parallel

# CelebAMask-19 ids; left and right are the subject's.
SKIN, BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, EAR_LEFT, EAR_RIGHT = 1, 2, 3, 4, 5, 7, 8
NOSE, MOUTH, LIP_UPPER, LIP_LOWER, NECK, CLOTH, HAIR = 10, 11, 12, 13, 14, 16, 17

UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTLINES = {
    BROW_RIGHT: (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    BROW_LEFT: (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    EYE_RIGHT: (*RIGHT_LIDS[:9], *RIGHT_LIDS[15:8:-1]),
    EYE_LEFT: (*LEFT_LIDS[:9], *LEFT_LIDS[15:8:-1]),
    LIP_UPPER: (*UPPER_OUTER, *UPPER_INNER[::-1]),
    LIP_LOWER: (*LOWER_OUTER, *LOWER_INNER[::-1]),
    MOUTH: (*UPPER_INNER, *LOWER_INNER[::-1]),
}
FOREHEAD, CHIN, BROW_TOPS = 10, 152, (105, 334)
MATERIALS = ("skin", "hair", "cloth")
BINS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """One frame as labelling sees it; points are landmarks in pixels of the crop."""

    rgb: UInt8[np.ndarray, "H W 3"]
    matte: Float[np.ndarray, "H W"]
    head: ProjectedHead
    points: Float[np.ndarray, "478 2"]

    @property
    def tall(self) -> float:
        """Height of the face in pixels."""
        return float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourModels:
    """How likely each Lab colour is in skin, hair and cloth."""

    likelihood: Float[np.ndarray, "3 b b b"]

    def of(self, rgb: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
        """Likelihoods of every pixel."""
        L, a, b = _bins(rgb)
        place = (L.astype(np.int32) * BINS + a) * BINS + b
        return np.take(np.moveaxis(self.likelihood, 0, -1).reshape(-1, len(MATERIALS)), place, axis=0)


def learn_colours(views: list[FrameView]) -> ColourModels:
    """Colour models from frames spread over the recording: first from what position says, then once more refined."""
    models = ColourModels(likelihood=np.full((3, BINS, BINS, BINS), 1.0, np.float32))

    def counts_in(view: FrameView) -> Float[np.ndarray, "3 b b b"]:
        counts = np.zeros((3, BINS, BINS, BINS))
        sure = materials(view, models) * (view.matte > 0.9)[..., None]
        L, a, b = _bins(view.rgb)
        for k in range(3):
            chosen = sure[..., k] > 0.7
            np.add.at(counts[k], (L[chosen], a[chosen], b[chosen]), 1)
        return counts

    for _ in range(3):
        counts = np.sum(list(in_parallel(counts_in, views)), 0)
        smooth = np.stack([gaussian_filter(count, 0.8) for count in counts])
        total = smooth.sum((1, 2, 3), keepdims=True)
        # A little of everything, so that a colour never seen decides nothing.
        models = ColourModels(likelihood=(smooth / np.maximum(total, 1) + 1e-5).astype(np.float32))
    return models


def materials(view: FrameView, models: ColourModels) -> Float[np.ndarray, "H W 3"]:
    """How much each pixel of the person is skin, hair or cloth: position times colour, smoothed along edges."""
    chance = _position_prior(view) * models.of(view.rgb)
    chance /= chance.sum(-1, keepdims=True)
    guide = view.rgb.astype(np.float32) / 255
    radius = max(2, round(view.rgb.shape[0] / 128))
    return np.clip(guided_filter(guide, chance, radius=radius, epsilon=1e-3), 0, 1)


def label_image(view: FrameView, models: ColourModels) -> UInt8[np.ndarray, "H W"]:
    """CelebAMask-19 ids of one frame."""
    # Specks are patterns on cloth and highlights on skin.
    kind = _middle(materials(view, models).argmax(-1), 2 * max(1, view.rgb.shape[0] // 170) + 1)
    below = _below_jaw(view)
    labels = np.where(kind == 0, np.where(below, NECK, SKIN), np.where(kind == 1, HAIR, CLOTH)).astype(np.uint8)
    skin = labels == SKIN
    ears = skin & ~_filled(view, FACE_OVAL) & (_near(view.head.shows("ears"), 0.12 * view.tall))
    middle = view.points[[FOREHEAD, CHIN], 0].mean()
    left = np.arange(labels.shape[1])[None] > middle
    labels[ears & left], labels[ears & ~left] = EAR_LEFT, EAR_RIGHT
    labels[skin & view.head.shows("nose")] = NOSE
    for name, outline in OUTLINES.items():
        labels[_filled(view, outline)] = name
    return np.where(view.matte >= 0.5, labels, 0).astype(np.uint8)


def _middle(kind: Int[np.ndarray, "H W"], window: int) -> UInt8[np.ndarray, "H W"]:
    """The median of three kinds in a window: where most are below it. Counting is much faster than sorting."""
    at_most = lambda k: cv2.boxFilter(  # noqa: E731
        (kind <= k).astype(np.float32), -1, (window, window), normalize=False, borderType=cv2.BORDER_REPLICATE
    )
    half = window * window / 2
    return np.where(at_most(0) > half, 0, np.where(at_most(1) > half, 1, 2)).astype(np.uint8)


def fit_mask(view: FrameView) -> Float[np.ndarray, "H W"]:
    """What the head model can explain: the matte of head, hair, neck and collar, cut softly where the model ends."""
    height = view.matte.shape[0]
    solid = view.head.regions > 0
    away = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 5)
    # The rim's sides are its highest points: above them everything of the person belongs to the head.
    shoulder = float(np.percentile(view.head.rim[:, 1], 10))
    ramp = 0.25 * view.tall
    rows = (np.arange(height) + 0.5)[:, None]
    above = np.clip((shoulder - rows) / ramp, 0, 1)
    reach = 2.0 + above**2 * 1.5 * view.tall
    soft = 2.0 * height / 512
    cut = np.clip((reach - away) / (2 * soft) + 0.5, 0, 1)
    cut = cv2.GaussianBlur(cut.astype(np.float32), (0, 0), soft / 2)
    return view.matte * cut * _connected(view)


def _position_prior(view: FrameView) -> Float[np.ndarray, "H W 3"]:
    """What position alone says, before any colour. Only chances above 0.7 teach the colour models."""
    height = view.matte.shape[0]
    below, oval = _below_jaw(view), _filled(view, FACE_OVAL)
    rows = np.arange(height, dtype=np.float32) + 0.5
    # Places in the order of their say: beside the head there is hair; below it cloth, or long hair near the head; then
    # ears, the face, and the forehead.
    chances = np.array(
        [(0.08, 0.9, 0.02), (0.03, 0.07, 0.9), (0.65, 0.33, 0.02), (0.97, 0.02, 0.01), (0.69, 0.30, 0.01)], np.float32
    )
    place = below.astype(np.uint8)
    ears = _near(view.head.shows("ears"), 0.06 * view.tall) & ~oval
    place[ears] = 2
    place[oval] = 3
    place[oval & (rows < view.points[list(BROW_TOPS), 1].mean())[:, None]] = 4
    prior = np.take(chances, place, axis=0)
    open_to_more = ~(ears | oval)
    neck = view.head.shows("neck") | (view.head.shows("skin") & below)
    skin = 0.15 + 0.65 * np.clip(1 - (rows - view.points[CHIN, 1]) / (0.45 * view.tall), 0.05, 1)
    by_row = np.stack([skin, np.full_like(skin, 0.02), 0.98 - skin], -1).astype(np.float32)
    there = neck & open_to_more
    prior[there] = by_row[np.nonzero(there)[0]]
    # The hairline can be anywhere between the top of the landmarks and well up the skull: there colour decides.
    skull = (view.head.regions > 0) & ~below & ~neck & open_to_more
    up = cv2.distanceTransform((~oval).astype(np.uint8), cv2.DIST_L2, 5)[skull] / view.tall
    hair = np.clip(0.45 + 1.5 * (up - 0.1), 0.45, 0.97)
    prior[skull] = np.stack([0.99 - hair, hair, np.full_like(hair, 0.01)], -1)
    return prior


def _below_jaw(view: FrameView) -> Bool[np.ndarray, "H W"]:
    """Pixels under the jaw's line, which runs from ear to ear through the chin and level beyond the ears."""
    height, width = view.matte.shape
    right, left = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148), (377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
    jaw = view.points[[*right[3:], CHIN, *left[:7]]]
    line = np.interp(np.arange(width) + 0.5, *_sorted_by_x(jaw))
    return np.arange(height)[:, None] + 0.5 > line[None]


def _sorted_by_x(points: Float[np.ndarray, "K 2"]) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]


def _filled(view: FrameView, outline: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    canvas = np.zeros(view.matte.shape, np.uint8)
    polygon = np.rint((view.points[list(outline)] - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [polygon], 1, shift=4)
    return canvas > 0


def _near(region: Bool[np.ndarray, "H W"], distance: float) -> Bool[np.ndarray, "H W"]:
    return cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5) <= distance


def _connected(view: FrameView) -> Float[np.ndarray, "H W"]:
    """1 on the part of the matte that holds the face, 0 on other people; soft edges are kept."""
    person = (view.matte > 0.3).astype(np.uint8)
    _, parts = cv2.connectedComponents(person)
    x, y = np.clip(view.points[:468].mean(0), 0, np.array(person.shape[::-1]) - 1).astype(int)
    mine = parts == parts[y, x] if parts[y, x] else person > 0
    return cv2.GaussianBlur(cv2.dilate(mine.astype(np.float32), np.ones((7, 7), np.uint8)), (0, 0), 1.0)


def _bins(rgb: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    L, a, b = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))
    # People use the middle of the a and b axes only: finer bins there.
    value = np.arange(256)
    lightness = (value * BINS // 256).astype(np.uint8)
    chroma = (np.clip((value - 128) * 2 + 128, 0, 255) * BINS // 256).astype(np.uint8)
    return cv2.LUT(L, lightness), cv2.LUT(a, chroma), cv2.LUT(b, chroma)
