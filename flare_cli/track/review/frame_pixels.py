"""What the pixels of one frame's face say about the recording: blur, exposure, teeth, and how sure its outline is.

Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from flare_cli.data.image import LINEAR_OF_BYTE
from flare_cli.track.face.landmarks import FACE_OVAL

# The inner rim of the lips in Face Mesh, all around.
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
# The second blur of Zhuo and Sim, in pixels: as wide as the blurs that are told apart.
REBLUR = 1.5
# Edges that are measured: those of the face's steepest pixels. Skin alone has none, eyes, brows and lips have.
STEEPEST = 0.02
# A channel at or beyond these of 255 has lost what it showed; video keeps headroom and compression smears the limit.
WHITE, BLACK = 250, 4
# Of the face's pixels one in so many has a say in medians: of 10,000 they are within 0.01 stops of all pixels'.
SPARSE = 4
# Teeth are brighter than the skin, and less red: linear red over the mean of green and blue is at most this part of the
# skin's, so that white balance cancels. Chosen by eye on the development recordings: teeth have 0.4 to 0.85 of it.
TOOTH_REDNESS, TOOTH_LUMINANCE = 0.85, 1.0
# What skin's red and blue are over its green, in stops of linear sRGB, in white light: from very pale (255, 224, 210)
# to very dark (90, 56, 40), and as far as television's warm colours take it. Chosen by hand.
SKIN_RED, SKIN_BLUE = (0.3, 1.8), (-1.1, -0.1)
# The face's two sides are told apart by the line from the nose's root to the chin, but for this part around it.
NOSE_ROOT, CHIN, BETWEEN = 168, 152, 0.3
SIDE_PIXELS = 30  # of those that have a say, for a side to have a colour
# Where a mask is neither background nor person, in 0..255.
UNSURE = (26, 229)
_LINEAR = LINEAR_OF_BYTE.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePixels:
    """One frame's face. NaN where it has no pixel to measure.

    `blur` is the standard deviation of the Gaussian that its edges went through, in pixels. `luminance` is the linear
    median over the face. `white` and `black` are the parts of the face that are clipped. `teeth` is the part of the
    face that shows teeth. `unsure_edge` is the mean width of the mask's soft edge in parts of the face's height, and
    `cut` the part of the face that the mask leaves out. `covered` is the part of the face that something is before;
    none of the others is measured there. `tint` is how far the face's colour is from any skin's in white light, and
    `mixed` how much bluer one side of it is than the other, both in stops.
    """

    blur: float
    luminance: float
    white: float
    black: float
    teeth: float
    unsure_edge: float
    cut: float
    covered: float
    tint: float
    mixed: float


def measure_frame(
    rgb: UInt8[np.ndarray, "H W 3"],
    mask: UInt8[np.ndarray, "H W"],
    occluded: Bool[np.ndarray, "H W"],
    points: Float[np.ndarray, "478 2"],
) -> FramePixels:
    """Measure the face that `points` (pixels) outline. Takes some four milliseconds of a face 250 pixels high."""
    height, width = mask.shape
    low = np.clip(np.floor(points[:468].min(0)).astype(int) - 2, 0, None)
    high = np.minimum(np.ceil(points[:468].max(0)).astype(int) + 3, (width, height))
    if (high - low).min() < 8:  # the face is not in the picture
        return FramePixels(**dict.fromkeys(FramePixels.__slots__, float("nan")))
    window, shifted = np.s_[low[1] : high[1], low[0] : high[0]], points - low
    picture = rgb[window]
    face, mouth = (_filled(picture.shape[:2], shifted[list(outline)]) for outline in (FACE_OVAL, INNER_LIPS))
    covered = float(occluded[window][face].mean()) if face.any() else float("nan")
    face &= ~occluded[window]
    mouth &= face
    if not face.any():
        return FramePixels(**{**dict.fromkeys(FramePixels.__slots__, float("nan")), "covered": covered})
    r, g, b = cv2.split(picture)
    brightest = cv2.max(cv2.max(r, g), b)[face]
    skin = picture[np.divmod(np.flatnonzero(face)[::SPARSE], face.shape[1])]
    return FramePixels(
        blur=edge_blur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), face),
        luminance=float(np.median(_luminance(skin))),
        white=float((brightest >= WHITE).mean()),
        black=float((brightest <= BLACK).mean()),
        teeth=float(_are_teeth(picture[mouth], skin).sum() / face.sum()),
        unsure_edge=_edge_width(mask) / float(np.ptp(points[:468, 1])),
        cut=float((mask[window][face] < 128).mean()),
        covered=covered,
        tint=_tint(skin),
        mixed=_mixed(picture, face, shifted),
    )


def edge_blur(grey: UInt8[np.ndarray, "H W"], where: Bool[np.ndarray, "H W"]) -> float:
    """The standard deviation in pixels of the Gaussian that the steepest edges among `where` are steps under.

    Blurred once more by `REBLUR`, an edge's gradient falls to sigma / sqrt(sigma² + REBLUR²) of itself (Zhuo and Sim,
    Defocus map estimation from a single image, Pattern Recognition 2011, eq. 6). Central differences blur by a variance
    of 1/3 by themselves.
    """
    sharp = grey.astype(np.float32)
    once, twice = (_gradient(picture) for picture in (sharp, cv2.GaussianBlur(sharp, (0, 0), REBLUR)))
    inside = where & (once > 0)
    if not inside.any():
        return float("nan")
    steep = inside & (once >= np.quantile(once[inside], 1 - STEEPEST))
    ratio = np.median(once[steep] / np.maximum(twice[steep], 1e-6))
    return float(np.sqrt(max(REBLUR**2 / max(ratio**2 - 1, 1e-6) - 1 / 3, 0)))


def _gradient(picture: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """The length of central differences."""
    across, down = (cv2.Sobel(picture, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (1, 0))
    return cv2.magnitude(across, down)


def _filled(shape: tuple[int, ...], outline: Float[np.ndarray, "K 2"]) -> Bool[np.ndarray, "H W"]:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint((outline - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return canvas.view(bool)


def _luminance(rgb: UInt8[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    """Linear luminance (ITU-R BT.709 primaries)."""
    r, g, b = _LINEAR[rgb.T]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _are_teeth(rgb: UInt8[np.ndarray, "N 3"], skin: UInt8[np.ndarray, "M 3"]) -> Bool[np.ndarray, "N"]:
    grey = _redness(rgb) < TOOTH_REDNESS * np.median(_redness(skin))
    return grey & (_luminance(rgb) > TOOTH_LUMINANCE * np.median(_luminance(skin)))


def _redness(rgb: UInt8[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    r, g, b = _LINEAR[rgb.T]
    return r / np.maximum((g + b) / 2, _LINEAR[1])


def _tint(skin: UInt8[np.ndarray, "N 3"]) -> float:
    """How far the median colour is outside the box of skin's colours, in stops."""
    red, green, blue = np.maximum(np.median(_LINEAR[skin], 0), _LINEAR[1])
    ratios = np.log2([red / green, blue / green])
    low, high = np.transpose([SKIN_RED, SKIN_BLUE])
    return float(np.linalg.norm(ratios - np.clip(ratios, low, high)))


def _mixed(
    picture: UInt8[np.ndarray, "h w 3"], face: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "478 2"]
) -> float:
    """How much bluer (over red) one side of the face is than the other, in stops; NaN where only one is seen."""
    along = points[CHIN] - points[NOSE_ROOT]
    at = np.flatnonzero(face)[::SPARSE]
    y, x = np.divmod(at, face.shape[1])
    across = ((x - points[NOSE_ROOT, 0]) * along[1] - (y - points[NOSE_ROOT, 1]) * along[0]) / max(along @ along, 1e-9)
    colours = picture[y, x]
    # Dark pixels' colours are noise, clipped ones' lost.
    usable = (colours > 20).all(1) & (colours < WHITE).all(1)
    sides = [_LINEAR[colours[usable & (sign * across > BETWEEN)]] for sign in (-1, 1)]
    if min(map(len, sides)) < SIDE_PIXELS:
        return float("nan")
    left, right = (float(np.median(np.log2(side[:, 2] / side[:, 0]))) for side in sides)
    return abs(left - right)


def _edge_width(mask: UInt8[np.ndarray, "H W"]) -> float:
    """Mean width of the soft edge in pixels: its area over the outline's length."""
    outlines, _ = cv2.findContours((mask > 127).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    length = sum(cv2.arcLength(outline, closed=True) for outline in outlines)
    soft = np.count_nonzero((mask > UNSURE[0]) & (mask < UNSURE[1]))
    return soft / length if length else float("nan")
