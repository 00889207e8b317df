"""Where one shot of a film ends and the next begins: what follows a face or smooths its motion must not do so across.

Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from flare_cli.track.face.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

THUMBNAIL, BINS = (64, 48), 16
ROWS_OF_EACH = 4  # rows of the picture in a row of the thumbnail, or more
# A cut changes what colours there are (Hellinger distance, 0..1) and where (mean absolute difference, 0..1). Between
# neighbouring frames of three recordings the largest were 0.10 and 0.03, ten frames apart 0.13 and 0.10; between
# different recordings the least were 0.77 and 0.27.
COLOURS_CHANGED, PLACES_CHANGED = 0.3, 0.08
# A cut to the same scene moves the face: farther, in distances of the eyes' outer corners (some 9 cm), or by a larger
# factor of size than a head does. Both at once and per second; chosen for heads that move at less than 1 m/s.
FARTHEST, FASTEST = 0.5, 15.0
LARGEST_ZOOM, FASTEST_ZOOM = 0.1, 2.0


@final
class CutFinder:
    """Tells of each frame in turn whether it is of another shot than the last one that showed a face.

    What has no face between two frames of one shot (a flash, a title) divides nothing.
    """

    def __init__(self) -> None:
        self._now: tuple[np.ndarray, np.ndarray] | None = None
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def keep(self) -> None:
        """The frame that was last asked about shows a face."""
        self._kept = self._now

    def __call__(self, rgb: UInt8[np.ndarray, "H W 3"]) -> bool:
        """Whether the picture has changed altogether."""
        # Some rows are enough: the average of all of a large picture takes as long as half of the face network.
        rows = rgb[:: max(1, rgb.shape[0] // (ROWS_OF_EACH * THUMBNAIL[1]))]
        small = cv2.resize(rows, THUMBNAIL, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
        counts = cv2.calcHist([lab], [0, 1, 2], None, [BINS] * 3, [0, 256] * 3).ravel()
        self._now = picture, colours = small.astype(np.float32) / 255, np.sqrt(counts / counts.sum())
        if self._kept is None:
            return False
        changed = np.sqrt(max(0.0, 1 - float(colours @ self._kept[1])))
        return bool(changed > COLOURS_CHANGED and np.abs(picture - self._kept[0]).mean() > PLACES_CHANGED)


def face_jumps(points: Float[np.ndarray, "N 478 3"], times: Float[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    """Frames in which the face (pixels; NaN: none) is where or as large as no head gets in the time since the last."""
    eyes = points[:, [RIGHT_EYE_OUTER, LEFT_EYE_OUTER], :2]
    middle, size = eyes.mean(1), np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=-1)
    jumps = np.zeros(len(points), bool)
    seen = np.flatnonzero(np.isfinite(size) & (size > 0))
    last, now = seen[:-1], seen[1:]
    passed = times[now] - times[last]
    moved = np.linalg.norm(middle[now] - middle[last], axis=-1) / np.maximum(size[now], size[last])
    # A turn to the side brings the eyes together: sizes are of the whole face.
    heights = np.linalg.norm(np.ptp(points[:, :468, :2], axis=1), axis=-1)
    zoom = np.maximum(heights[now], heights[last]) / np.minimum(heights[now], heights[last]) - 1
    jumps[now] = (moved > FARTHEST + FASTEST * passed) | (zoom > LARGEST_ZOOM + FASTEST_ZOOM * passed)
    return jumps
