"""What passes before the head (hands, microphones, cups): found by what the head's own surface shows in other frames.

Each triangle of the tracked head has colours that it usually shows. A large patch of a frame whose colours are outside
of what any triangle nearby usually shows is something else; so is a person where, seen from the head, none is in other
frames. What stays before the head for the most of a recording is not found. Worker processes use this module: it
imports no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.data.image import LINEAR_OF_BYTE
from flare_cli.track.label.projected_head import REGION_NAMES, ProjectedFrame
from flare_cli.track.label.segmentation import CHIN, FOREHEAD, SHOULDER_PERCENTILE, FrameView, largest

# Numbers were chosen on three real recordings, as they are and with drawn hands, microphones and cups moved across them
# (docs/experiments.md, "What passes before the face"). Lengths are in face heights, colours in stops.

# Faces are looked at so many pixels high: a finger is five wide.
FACE_PIXELS = 80
# Usual is what is between these percentiles of the frames: what covers less than a fifth of them does not count, and a
# face's shadows, wrinkles and expressions mostly do.
USUAL = (20, 50, 80)
LEAST_FRAMES = 4  # that show a triangle
# Added to linear radiance before the logarithm, as stray light and noise are: blacks are alike.
STRAY = 0.02
# How far outside the usual a pixel is strange: in brightness, and in red and blue over green. Of pixels of faces that
# nothing covers 0.1 % are farther than 0.25, 0.08 and 0.07. Shadows and highlights change brightness above all.
STRANGE = (1.5, 0.12, 0.15)
CLIPPED = 240  # of 255, from where a channel shows highlights and overexposure, and no colour of its own
WEAKLY = 0.25  # of that, where it joins on to strange pixels
# Usual colours may lie so far away: features of the face are not exactly where the drawn head has them.
REACH = 0.03
# Where details of this size correlate so much with the usual ones, it is the same surface in another light.
DETAIL, ALIKE = 0.06, 0.5
# Least area of what is strange in squares of the face's height, a twentieth of the face; gaps that are closed in it;
# and how much farther than it is seen it is taken to reach: its edge is blurred.
LEAST_AREA, CLOSED, MARGIN = 0.03, 0.05, 0.012
# Regions that change by themselves are no evidence, though what covers others may reach over them.
CHANGING = ("scalp", "eyes", "inner_mouth", "teeth", "tongue")

# The map of where a person is seen, around the face: its edge in pixels and in face heights.
MAP_PIXELS, MAP_HEIGHTS = 96, 6.0
# A person is where the matte is above the first; nobody ever is where less than the second part of the frames has one.
PERSON, NOBODY = 0.6, 0.1
# How far outlines may be from where other frames have them, in pixels of the map: hair and turned heads.
MAP_MARGIN = 2

_STOPS = np.log2(LINEAR_OF_BYTE + STRAY).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What one frame shows: the mean `_colours` of each triangle, NaN where it is not seen; and around the head, 1
    where there is a person, 0 where is none, NaN beyond the picture.
    """

    colours: Float[np.ndarray, "F 3"]
    person: Float[np.ndarray, "M M"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualLook:
    """The triangles' colours at the percentiles `USUAL` of the frames, NaN where they were hardly seen; and the part of
    the frames in which a person is seen, by the place around the head.
    """

    colours: Float[np.ndarray, "3 F 3"]
    person: Float[np.ndarray, "M M"]


def of_frame(
    rgb: UInt8[np.ndarray, "H W 3"], matte: UInt8[np.ndarray, "h w"], frame: ProjectedFrame, triangles: int
) -> Example:
    """What a frame shows of a head of so many triangles. `matte` is of the same view, at any size."""
    shown = np.flatnonzero(frame.head.triangle >= 0)
    triangle, colours = frame.head.triangle.ravel()[shown], _colours(rgb.reshape(-1, 1, 3)[shown])[:, 0]
    count = np.bincount(triangle, minlength=triangles)
    total = [np.bincount(triangle, colours[:, channel], minlength=triangles) for channel in range(3)]
    means = np.stack(total, 1) / np.where(count > 0, count, np.nan)[:, None]
    size = np.array(matte.shape[::-1]) / np.array(rgb.shape[1::-1])
    person = cv2.warpAffine(
        (matte > PERSON * 255).astype(np.float32), _to_map(frame.points * size), (MAP_PIXELS, MAP_PIXELS),
        borderValue=float("nan"),
    )  # fmt: skip
    return Example(colours=means.astype(np.float32), person=person)


def learn_look(examples: Sequence[Example]) -> UsualLook:
    """From frames spread over the recording."""
    colours = np.stack([example.colours for example in examples])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: never seen
        colours -= np.nanmedian(colours - np.nanmedian(colours, 0), 1, keepdims=True)  # the exposure of each frame
        usual = np.nanpercentile(colours, USUAL, axis=0)
        part = np.nanmean([example.person for example in examples], 0)
    usual[:, np.isfinite(colours[..., 0]).sum(0) < min(LEAST_FRAMES, len(colours))] = np.nan
    # Nothing is known of places that no frame shows.
    part = np.where(np.isfinite(part), part, 1).astype(np.float32)
    return UsualLook(colours=usual.astype(np.float32), person=cv2.dilate(part, _disc(MAP_MARGIN)))


def occluded(view: FrameView, labels: UInt8[np.ndarray, "H W"], look: UsualLook) -> Bool[np.ndarray, "H W"]:
    """The pixels in which something is before the head, by a frame and its label image."""
    height, width = labels.shape
    scale = min(1.0, FACE_PIXELS / view.face_height)
    size = (round(width * scale), round(height * scale))
    rows, columns = (
        np.minimum((np.arange(small) + 0.5) * whole / small, whole - 1).astype(int)
        for small, whole in ((size[1], height), (size[0], width))
    )
    grid = np.ix_(rows, columns)
    rgb, matte = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (view.rgb, view.matte))
    hair, face = largest(labels[grid] == Label.HAIR), scale * view.face_height
    least = LEAST_AREA * face**2
    triangle, regions = view.head.triangle[grid], view.head.regions[grid]

    nothing = np.full_like(look.colours[:, :1], np.nan)
    usual = np.concatenate([look.colours, nothing], 1)[:, triangle]  # no triangle is -1, the last
    colours = _colours(cv2.blur(rgb, (3, 3)))  # against noise
    strangeness = _strangeness(colours, usual, REACH * face)
    is_changing = np.array([False, *(name in CHANGING for name in REGION_NAMES)])
    brightest = cv2.max(cv2.max(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    strange = _opened((strangeness > 1) & ~is_changing[regions] & (brightest < CLIPPED))
    place = cv2.warpAffine(
        look.person, _to_map(view.points * scale), size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=1
    )
    above_shoulders = (rows < np.percentile(view.head.rim[:, 1], SHOULDER_PERCENTILE))[:, None]
    intruding = _opened((triangle < 0) & (matte > PERSON) & (place < NOBODY) & ~hair & above_shoulders)

    own = [
        part
        for part in _large_parts(strange, least)
        if hair[part].mean() < 0.5 and _likeness(colours[..., 0], usual[1, ..., 0], part, DETAIL * face) < ALIKE
    ]
    found = [*own, *_large_parts(intruding, least)]
    if not found:
        return np.zeros(labels.shape, bool)
    seeds = np.logical_or.reduce(found)
    whole = cv2.morphologyEx(
        (seeds | intruding | _opened(strangeness > WEAKLY)).view(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSED * face)
    )
    whole = _opened(whole.view(bool) & ((triangle >= 0) | (matte > PERSON))) | seeds
    _, parts = cv2.connectedComponents(whole.view(np.uint8))
    whole &= np.isin(parts, np.unique(parts[seeds]))
    whole = ~np.logical_or.reduce(_large_parts(~whole, 2 * least))  # small gaps are before the head, too
    grown = cv2.dilate(whole.view(np.uint8), _disc(MARGIN * face))
    return cv2.resize(grown.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _colours(rgb: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """Brightness, red over green and blue over green, in stops."""
    r, g, b = cv2.split(_STOPS[rgb])
    return cv2.merge([(r + g + b) / 3, r - g, b - g])


def _strangeness(
    colours: Float[np.ndarray, "h w 3"],
    usual: Float[np.ndarray, "3 h w 3"],
    reach: float,
) -> Float[np.ndarray, "h w"]:
    """How far colours are outside of what is usual within `reach` pixels: 1 is `STRANGE`. 0 where nothing is known."""
    low, middle, high = usual
    lowest = cv2.erode(np.where(np.isfinite(low), low, np.inf), _disc(reach))
    highest = cv2.dilate(np.where(np.isfinite(high), high, -np.inf), _disc(reach))
    known = np.isfinite(middle[..., 0])
    strangeness = np.zeros(known.shape, np.float32)
    # Exposure and white balance are the frame's median's, unless they are as usual: what covers most of a face has a
    # median of its own.
    colours, middle, lowest, highest = (np.ascontiguousarray(of[known].T) for of in (colours, middle, lowest, highest))
    found: list[np.ndarray] = []
    for light in (np.zeros((3, 1), np.float32), np.median(colours - middle, 1, keepdims=True)):
        beyond = np.maximum(colours - light - highest, lowest + light - colours)
        found.append(np.linalg.norm(np.maximum(beyond, 0) / np.array(STRANGE, np.float32)[:, None], axis=0))
    strangeness[known] = min(found, key=lambda strange: np.count_nonzero(strange > 1))
    return strangeness


def _likeness(
    one: Float[np.ndarray, "h w"],
    other: Float[np.ndarray, "h w"],
    part: Bool[np.ndarray, "h w"],
    detail: float,
) -> float:
    """The correlation of two pictures' details (smaller than `detail` pixels) inside a part of them."""
    weight = (part & np.isfinite(other)).astype(np.float32)
    inside = cv2.erode(weight, _disc(2)) > 0
    if not inside.any():
        return 0.0
    total = cv2.GaussianBlur(weight, (0, 0), detail)
    details: list[np.ndarray] = []
    for picture in (one, other):
        picture = np.where(weight > 0, picture, 0)
        details.append((picture - cv2.GaussianBlur(picture, (0, 0), detail) / np.maximum(total, 1e-6))[inside])
    a, b = details
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))


def _large_parts(region: Bool[np.ndarray, "h w"], area: float) -> list[Bool[np.ndarray, "h w"]]:
    """The connected parts of a region that are at least so large."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(region.view(np.uint8), connectivity=4)
    return [parts == i for i in range(1, count) if statistics[i, cv2.CC_STAT_AREA] >= area]


def _opened(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Without lines: edges of features that are a pixel off."""
    return cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, _disc(1)).view(bool)


def _disc(radius: float) -> UInt8[np.ndarray, "k k"]:
    edge = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))


def _to_map(points: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "2 3"]:
    """Pixels to those of the map, which turns with the face and is as large as it: a similarity."""
    # Forehead to chin is upright and as long as eyes are apart from the front; it keeps its length when a head turns.
    up = points[FOREHEAD] - points[CHIN]
    x, y = up / (up @ up) * (MAP_PIXELS / MAP_HEIGHTS)
    turn = np.array([[-y, x], [-x, -y]])
    return np.column_stack([turn, MAP_PIXELS / 2 - turn @ ((points[FOREHEAD] + points[CHIN]) / 2)])
