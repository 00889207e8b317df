"""Label images and fit masks from what we have: the matte, the landmarks, the tracked head and colours.

No parsing network is used. Skin, hair and cloth are told apart by colour models learned from the recording itself,
where the tracked head says what is certain; eyes, brows and lips are landmark outlines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.parallel.threads import in_parallel
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_LIDS, RIGHT_LIDS
from flare_cli.track.label.matte import Guide, guided_filter
from flare_cli.track.label.projected_head import ProjectedHead

UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTLINES = {
    Label.BROW_RIGHT: (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    Label.BROW_LEFT: (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    Label.EYE_RIGHT: (*RIGHT_LIDS[:9], *RIGHT_LIDS[15:8:-1]),
    Label.EYE_LEFT: (*LEFT_LIDS[:9], *LEFT_LIDS[15:8:-1]),
    Label.LIP_UPPER: (*UPPER_OUTER, *UPPER_INNER[::-1]),
    Label.LIP_LOWER: (*LOWER_OUTER, *LOWER_INNER[::-1]),
    Label.MOUTH: (*UPPER_INNER, *LOWER_INNER[::-1]),
}
FOREHEAD, CHIN, BROW_TOPS = 10, 152, (105, 334)
# Colours are counted in so many bins an axis: L of all 256 values, a and b of the middle half.
BINS = 32

# All numbers from here on were chosen by eye on the development recordings, with no experiment logged: drawn labels and
# masks were looked at. Lengths are in face heights (forehead to chin), chances in 0..1.

# What a pixel has to have to teach the colours, as part of the matte and as chance of one material.
TEACHING_MATTE, TEACHING_CHANCE = 0.9, 0.7
LEARNING_ROUNDS = 3
# Deviation, in bins, by which counts are shared with neighbouring colours; and a little of everything, so that a colour
# that was never counted decides nothing.
COLOUR_BLUR, LEAST_LIKELIHOOD = 0.8, 1e-5
# Materials are smoothed along edges within a radius of the height over this; epsilon (He et al.) is a variance.
HEIGHTS_PER_RADIUS, MATERIAL_EPSILON = 128, 1e-3
# Specks on cloth and highlights on skin are smaller than a window of twice the height over this.
HEIGHTS_PER_SPECK = 170

# Distances from the drawn ears within which a pixel beside the face's outline is in their zone, and skin labelled ear.
NEAR_EARS, LABELLED_AS_EARS = 0.06, 0.12
# Skin's chance on the neck falls from the chin's height downwards, by all but this part: collars may be anywhere there.
NECK_SKIN, NECK_SKIN_FALL, NECK_LENGTH, LEAST_FALL = 0.15, 0.65, 0.45, 0.05
# Hair's chance on the skull: even up to a tenth of a face above the outline, then rising to nearly certain.
HAIRLINE_FROM, HAIR_RISE, LEAST_HAIR, MOST_HAIR = 0.1, 1.5, 0.45, 0.97
HAIRLINE_TO = HAIRLINE_FROM + (MOST_HAIR - LEAST_HAIR) / HAIR_RISE
# Skin and hair together on the skull: the rest is cloth, such as a cap.
SKULL_SKIN_AND_HAIR = 0.99

# Hair may hang past the jaw within such a distance of the drawn head above the jaw, in the colours that make up such
# a part of the hair above. They are likely hair beside the neck, where cloth hardly gets to; lower down cloth is
# likelier, for a coat may have them; before the drawn neck and torso skin is, which has them in the shade. The chances
# were measured against true labels (docs/experiments.md, "Labels below the jaw").
HANGING_REACH, USUAL_PART = 0.9, 0.99
BESIDE_NECK, BESIDE_TORSO, BEFORE_HEAD = 0.9, 0.35, 0.1

# The fit mask: how far beyond the drawn head (pixels) it reaches at and below the shoulders, and how much farther above
# them: up to the square of a ramp of this length, times this reach. Hair stands off the head above, the torso below.
MASK_MARGIN, SHOULDER_RAMP, HAIR_REACH = 2.0, 0.25, 1.5
# Gaps of twice this length in hanging hair, such as earrings and lobes, are within the mask.
HAIR_CLOSED = 0.03
# Half width of its soft edge in pixels of a picture 512 high; and the quantile of the rim's heights that counts as the
# shoulders' (image y grows downwards: small is high).
MASK_SOFTNESS, SHOULDER_PERCENTILE = 2.0, 10
# Matte above which pixels hang together as one person.
CONNECTED_MATTE = 0.3


class Zone(IntEnum):
    """Where a pixel lies on a person, by what decides its chances before colour does."""

    BESIDE_HEAD = 0
    BELOW_JAW = 1
    EARS = 2
    FACE = 3
    FOREHEAD = 4
    NECK = 5


# How likely a pixel of each zone is skin and hair; the rest is cloth. Beside the head there is hair; below it cloth:
# hair only where it hangs down from above. A forehead may be under a fringe. Skin on the neck depends on the row:
# `NECK_SKIN`.
CHANCES = {
    Zone.BESIDE_HEAD: (0.08, 0.9),
    Zone.BELOW_JAW: (0.03, 0.01),
    Zone.EARS: (0.65, 0.33),
    Zone.FACE: (0.97, 0.02),
    Zone.FOREHEAD: (0.69, 0.30),
    Zone.NECK: (0, 0.005),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """One frame as segmentation sees it; points are landmarks in pixels of the crop."""

    rgb: UInt8[np.ndarray, "H W 3"]
    guide: Guide
    matte: Float[np.ndarray, "H W"]
    head: ProjectedHead
    points: Float[np.ndarray, "478 2"]

    @property
    def face_height(self) -> float:
        """Height of the face in pixels."""
        return float(np.linalg.norm(self.points[FOREHEAD] - self.points[CHIN]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourModels:
    """How likely each Lab colour is in skin, hair and cloth; and how much likelier in hair than in skin, 0 for colours
    that hair hardly has.
    """

    likelihood: Float[np.ndarray, "3 bbb"]
    hair_over_skin: Float[np.ndarray, " bbb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """What is known of each pixel before it is known what colour skin, hair and cloth have.

    `skin` and `hair` are how likely (0..1) position makes them, else it is cloth; `colour` is the bin of its colour;
    `below` tells pixels under the jaw, `oval` those in the face's outline; `from_ears` is the distance in pixels to the
    nearest ear, infinite beyond where it matters.
    """

    skin: Float[np.ndarray, "H W"]
    hair: Float[np.ndarray, "H W"]
    colour: Int[np.ndarray, "H W"]
    below: Bool[np.ndarray, "H W"]
    oval: Bool[np.ndarray, "H W"]
    from_ears: Float[np.ndarray, "H W"]


def learn_colours(views: list[FrameView]) -> ColourModels:
    """Colour models from frames spread over the recording: first from what position says, then twice from that and the
    colours learned so far.

    What hangs below the jaw in the colours of the hair above is found before anything below teaches.
    """
    known = list(zip(views, in_parallel(clues_of, views), strict=True))

    def learned(models: ColourModels) -> ColourModels:
        def counts_in(frame: tuple[FrameView, Clues]) -> Int[np.ndarray, "3 bbb"]:
            view, clues = frame
            clues = with_hanging_hair(view, clues, models)
            certain = view.matte > TEACHING_MATTE
            chosen = [certain & (chance > TEACHING_CHANCE) for chance in materials(view, clues, models)]
            return np.stack([np.bincount(clues.colour[pixels], minlength=BINS**3) for pixels in chosen])

        return _models_of(np.sum(list(in_parallel(counts_in, known)), 0).astype(float))

    nothing = _models_of(np.zeros((3, BINS**3)))
    models = replace(nothing, hair_over_skin=learned(nothing).hair_over_skin)
    for _ in range(LEARNING_ROUNDS):
        models = learned(models)
    return models


def _models_of(counts: Float[np.ndarray, "3 bbb"]) -> ColourModels:
    smooth = np.stack([_blurred(count) for count in counts])
    total = smooth.sum(1, keepdims=True)
    # Where next to no cloth is seen, what passes for it is what hair and skin left over: it says little.
    total[2] = total[1:].max()
    part = smooth / np.maximum(total, 1)
    rare_first = np.argsort(part[1])
    usual = np.zeros(part.shape[1], bool)
    usual[rare_first[np.cumsum(part[1, rare_first]) > 1 - USUAL_PART]] = True
    likelihood = (part + LEAST_LIKELIHOOD).astype(np.float32)
    return ColourModels(likelihood=likelihood, hair_over_skin=usual * likelihood[1] / likelihood[0])


def with_hanging_hair(view: FrameView, clues: Clues, models: ColourModels) -> Clues:
    """The clues, with hair's chance where hair may hang past the jaw: likelier hair than skin, near the head, and of
    one piece with hair above the eyes.

    Cloth would else be taught by the hair that covers it. Before hair's colours are known there is none.
    """
    rows = np.arange(len(view.matte), dtype=np.float32)[:, None] + 0.5
    x, y = view.head.rim.T
    above_shoulders = rows < y[[x.argmin(), x.argmax()]].mean()
    beside = np.where(above_shoulders, np.float32(BESIDE_NECK), np.float32(BESIDE_TORSO))
    hair = np.where(clues.below, np.where(view.head.regions > 0, np.float32(BEFORE_HEAD), beside), clues.hair)
    skin = clues.skin * (1 - hair) / (1 - clues.hair)
    may_be = (models.hair_over_skin.take(clues.colour) * hair > skin) & (view.matte > CONNECTED_MATTE) & ~clues.oval
    reach = HANGING_REACH * view.face_height
    may_be &= _distance((view.head.regions > 0) & ~clues.below, reach) <= reach
    parts = _connected_parts(may_be)
    hangs = np.zeros(parts.max() + 1, bool)
    eyes = round(float(view.points[[*RIGHT_LIDS, *LEFT_LIDS], 1].mean()))
    hangs[parts[: max(0, eyes)]] = True
    hanging = may_be & hangs[parts]
    return replace(clues, skin=np.where(hanging, skin, clues.skin), hair=np.where(hanging, hair, clues.hair))


def _blurred(counts: Float[np.ndarray, "bbb"]) -> Float[np.ndarray, "bbb"]:
    """Counts shared with the neighbouring colours."""
    for _ in range(3):  # L, a and b take their turns as first axis; SciPy's filter takes workers 0.14 s to import
        counts = cv2.GaussianBlur(
            counts.reshape(BINS, -1), (1, 7), COLOUR_BLUR, borderType=cv2.BORDER_REFLECT
        ).T.ravel()
    return counts


def materials(view: FrameView, clues: Clues, models: ColourModels) -> list[Float[np.ndarray, "H W"]]:
    """How much each pixel of the person is skin, hair and cloth: position times colour, smoothed along edges."""
    likely = [chance.take(clues.colour) for chance in models.likelihood]
    skin, hair = clues.skin * likely[0], clues.hair * likely[1]
    total = 1 - clues.skin
    total -= clues.hair
    total *= likely[2]
    total += skin
    total += hair
    skin /= total
    hair /= total
    radius = max(2, round(view.rgb.shape[0] / HEIGHTS_PER_RADIUS))
    skin, hair = guided_filter(view.guide, [skin, hair], radius=radius, epsilon=MATERIAL_EPSILON)
    # The filter is linear and keeps constants: the three still add up to 1.
    return [np.clip(chance, 0, 1, out=chance) for chance in (skin, hair, 1 - skin - hair)]


def label_image(view: FrameView, models: ColourModels) -> UInt8[np.ndarray, "H W"]:
    """CelebAMask-19 ids of one frame."""
    clues = with_hanging_hair(view, clues_of(view), models)
    skin, hair, cloth = materials(view, clues, models)
    window = 2 * max(1, view.rgb.shape[0] // HEIGHTS_PER_SPECK) + 1
    person = _mostly((skin >= cloth) | (hair >= cloth), window)
    skin = _mostly((skin >= cloth) & (skin >= hair), window)
    labels = np.full_like(clues.below, Label.CLOTH, np.uint8)
    labels[person] = Label.HAIR
    labels[skin] = Label.SKIN
    labels[skin & clues.below] = Label.NECK
    skin &= ~clues.below
    ears = skin & ~clues.oval & (clues.from_ears <= LABELLED_AS_EARS * view.face_height)
    middle = view.points[[FOREHEAD, CHIN], 0].mean()
    left = np.arange(labels.shape[1])[None] > middle
    labels[ears & left], labels[ears & ~left] = Label.EAR_LEFT, Label.EAR_RIGHT
    labels[skin & view.head.shows("nose")] = Label.NOSE
    for label, outline in OUTLINES.items():
        _fill(labels, view, outline, label)
    return labels * (view.matte >= 0.5)


def _mostly(mask: Bool[np.ndarray, "H W"], window: int) -> Bool[np.ndarray, "H W"]:
    """The median in a window. Counting is much faster than sorting."""
    count = cv2.boxFilter(
        mask.view(np.uint8), cv2.CV_16U, (window, window), normalize=False, borderType=cv2.BORDER_REPLICATE
    )
    return count > window * window // 2


def fit_mask(view: FrameView, labels: UInt8[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """What the head model can explain: the matte of head, hair, neck and collar, fading out where the model ends."""
    height = view.matte.shape[0]
    away = cv2.distanceTransform((view.head.regions == 0).view(np.uint8), cv2.DIST_L2, 5)
    # The rim's sides are its highest points: above them everything of the person belongs to the head.
    shoulder = float(np.percentile(view.head.rim[:, 1], SHOULDER_PERCENTILE))
    ramp = SHOULDER_RAMP * view.face_height
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    # Long hair is part of the head as far down as it hangs.
    edge = 2 * max(1, round(HAIR_CLOSED * view.face_height)) + 1
    hair = cv2.morphologyEx((labels == Label.HAIR).view(np.uint8), cv2.MORPH_CLOSE, np.ones((edge, edge), np.uint8))
    above = np.where(largest(hair.view(bool)), 1, np.clip((shoulder - rows) / ramp, 0, 1))
    reach = MASK_MARGIN + above**2 * HAIR_REACH * view.face_height
    soft = MASK_SOFTNESS * height / 512
    mask = reach - away
    mask /= 2 * soft
    mask += 0.5
    np.clip(mask, 0, 1, out=mask)
    mask = cv2.GaussianBlur(mask, (0, 0), soft / 2)
    mask *= view.matte
    mask *= _connected(view)
    return mask


def clues_of(view: FrameView) -> Clues:
    """What position says of a frame's pixels, and the bins of their colours."""
    rows = np.arange(view.matte.shape[0], dtype=np.float32) + 0.5
    below, oval = _below_jaw(view), np.zeros(view.matte.shape, np.uint8)
    _fill(oval, view, FACE_OVAL, 1)
    oval = oval.view(bool)
    from_oval = _distance(oval, HAIRLINE_TO * view.face_height)
    from_ears = _distance(view.head.shows("ears"), LABELLED_AS_EARS * view.face_height)
    # A later zone takes pixels from those before it, but the neck takes none of ears and face.
    zone = below.astype(np.uint8)
    ears = (from_ears <= NEAR_EARS * view.face_height) & ~oval
    zone[ears] = Zone.EARS
    zone[oval] = Zone.FACE
    zone[oval & (rows < view.points[list(BROW_TOPS), 1].mean())[:, None]] = Zone.FOREHEAD
    beside_face = ~(ears | oval)
    neck = view.head.shows("neck") | (view.head.shows("skin") & below)
    seen_neck = neck & beside_face
    zone[seen_neck] = Zone.NECK
    tables = np.zeros((2, 256), np.float32)
    tables[:, list(CHANCES)] = np.array(list(CHANCES.values()), np.float32).T
    skin, hair = (cv2.LUT(zone, table) for table in tables)
    fall = np.clip(1 - (rows - view.points[CHIN, 1]) / (NECK_LENGTH * view.face_height), LEAST_FALL, 1)
    np.copyto(skin, (NECK_SKIN + NECK_SKIN_FALL * fall)[:, None], where=seen_neck)
    # The hairline can be anywhere between the top of the landmarks and well up the skull: there colour decides.
    skull = (view.head.regions > 0) & ~below & ~neck & beside_face
    rising = LEAST_HAIR + HAIR_RISE * (from_oval / view.face_height - HAIRLINE_FROM)
    hair_on_skull = np.clip(rising, LEAST_HAIR, MOST_HAIR)
    np.copyto(hair, hair_on_skull, where=skull)
    np.copyto(skin, SKULL_SKIN_AND_HAIR - hair_on_skull, where=skull)
    return Clues(skin=skin, hair=hair, colour=_bins(view.rgb), below=below, oval=oval, from_ears=from_ears)


def _below_jaw(view: FrameView) -> Bool[np.ndarray, "H W"]:
    """Pixels under the jaw's line, which runs from ear to ear through the chin and level beyond the ears."""
    height, width = view.matte.shape
    right, left = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148), (377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
    jaw = view.points[[*right[3:], CHIN, *left[:7]]]
    line = np.interp(np.arange(width) + 0.5, *_sorted_by_x(jaw))
    return np.arange(height)[:, None] + 0.5 > line[None]


def _sorted_by_x(points: Float[np.ndarray, "K 2"]) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]


def _fill(canvas: UInt8[np.ndarray, "H W"], view: FrameView, outline: tuple[int, ...], value: int) -> None:
    polygon = np.rint((view.points[list(outline)] - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [polygon], value, shift=4)


def _distance(region: Bool[np.ndarray, "H W"], reach: float) -> Float[np.ndarray, "H W"]:
    """Pixels to the next pixel of `region`; infinite where that is further than `reach`."""
    away = np.full(region.shape, np.inf, np.float32)
    x, y, width, height = cv2.boundingRect(region.view(np.uint8))
    if width:
        margin = int(np.ceil(reach)) + 1
        near = np.s_[max(y - margin, 0) : y + height + margin, max(x - margin, 0) : x + width + margin]
        away[near] = cv2.distanceTransform((~region[near]).view(np.uint8), cv2.DIST_L2, 5)
    return away


def _connected(view: FrameView) -> Float[np.ndarray, "H W"]:
    """1 on the part of the matte that holds the face, 0 on other people; soft edges are kept."""
    person = (view.matte > CONNECTED_MATTE).view(np.uint8)
    _, parts = cv2.connectedComponents(person)
    x, y = np.clip(view.points[:468].mean(0), 0, np.array(person.shape[::-1]) - 1).astype(int)
    this_person = parts == parts[y, x] if parts[y, x] else person > 0
    grown = cv2.dilate(this_person.view(np.uint8), np.ones((7, 7), np.uint8))
    return cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 1.0)


def largest(region: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The largest connected part of a region."""
    parts = _connected_parts(region)
    areas = np.bincount(parts[region])  # OpenCV's own statistics take ten times as long
    return parts == areas.argmax() if len(areas) else region


def _connected_parts(region: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """The number of each pixel's connected part, from 1; 0 outside."""
    return np.asarray(cv2.connectedComponents(region.view(np.uint8))[1], np.int32)


def _bins(rgb: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
    """The bin of each pixel's Lab colour."""
    # People use the middle of the a and b axes only: finer bins there.
    value = np.arange(256)
    lightness = value * BINS // 256
    chroma = np.clip((value - 128) * 2 + 128, 0, 255) * BINS // 256
    steps = [step.astype(np.uint16) for step in (lightness * BINS * BINS, chroma * BINS, chroma)]
    channels = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))
    L, a, b = (cv2.LUT(channel, step) for channel, step in zip(channels, steps, strict=True))
    return np.add(cv2.add(L, a), b, dtype=np.intp)
