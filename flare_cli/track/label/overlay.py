"""Pictures that let a person judge a track: overlay frames and a contact sheet.

Worker processes use this module: it imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.track.label.projected_head import ProjectedHead
from flare_cli.track.review.frame_pixels import FramePixels

LABEL_COLOURS = np.array(
    [
        [0, 0, 0], [236, 188, 150], [120, 70, 30], [90, 50, 20], [80, 160, 255], [40, 120, 230], [200, 200, 60],
        [230, 130, 110], [200, 100, 90], [255, 215, 0], [255, 160, 120], [120, 0, 20], [220, 40, 80], [180, 20, 60],
        [210, 150, 120], [255, 235, 130], [70, 90, 160], [90, 60, 110], [60, 140, 140],
        [255, 0, 255],
    ],
    np.uint8,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewFrame:
    """A frame of the overlay film, what its pixels measure, and, if it is on the contact sheet, its row there."""

    overlay: UInt8[np.ndarray, "H W2 3"]
    pixels: FramePixels
    row: UInt8[np.ndarray, "h w 3"] | None


def overlay_frame(
    rgb: UInt8[np.ndarray, "H W 3"], head: ProjectedHead, points: Float[np.ndarray, "478 2"]
) -> UInt8[np.ndarray, "H W2 3"]:
    """Side by side: the landmarks over the picture, and the tracked head over the picture."""
    dots = rgb.copy()
    radius = max(1, rgb.shape[0] // 400)
    for x, y in np.rint((points - 0.5) * 16).astype(int).tolist():
        cv2.circle(dots, (x, y), radius * 16, (60, 255, 90), -1, cv2.LINE_AA, 4)
    return np.concatenate([dots, head_over(rgb, head)], 1)


def head_over(rgb: UInt8[np.ndarray, "H W 3"], head: ProjectedHead) -> UInt8[np.ndarray, "H W 3"]:
    """The shaded head laid half transparent over the picture."""
    mixed = cv2.addWeighted(rgb, 0.45, cv2.cvtColor(head.shading, cv2.COLOR_GRAY2RGB), 0.55, 0)
    return cv2.copyTo(mixed, head.regions, rgb.copy())


def contact_row(
    rgb: UInt8[np.ndarray, "H W 3"],
    head: ProjectedHead,
    labels: UInt8[np.ndarray, "H W"],
    person: UInt8[np.ndarray, "H W 3"],
    mask: UInt8[np.ndarray, "H W"],
    caption: str,
    *,
    edge: int = 300,
) -> UInt8[np.ndarray, "h w 3"]:
    """One frame four times: as recorded, with the head, with its labels, and the person's colours masked over green."""
    share = (mask / 255.0)[..., None]
    masked = person * share + np.array([0, 160, 60]) * (1 - share)
    coloured = rgb * 0.35 + LABEL_COLOURS[labels] * 0.65
    cells = [cv2.resize(cell.astype(np.uint8), (edge, edge), interpolation=cv2.INTER_AREA) for cell in (
        rgb, head_over(rgb, head), coloured, masked
    )]  # fmt: skip
    row = np.concatenate(cells, 1)
    # White on a dark rim. Not by thicker strokes: OpenCV 5 sets bold text wider.
    for x, y, grey in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 255)):
        corner = (6 + x, edge - 8 + y)
        cv2.putText(row, caption, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (grey, grey, grey), 1, cv2.LINE_AA)
    return row
