"""A data set's pictures, masks and labels as a subject keeps them: sRGB, 0..255, CelebAMask-19 ids, one size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from flare_cli.data.celebamask import OCCLUDED, Label
from flare_cli.data.image import decoded, read_grey, read_rgb
from flare_cli.datasets.sequences import LabelCode, SourceFrame
from flare_cli.errors import SubjectError

# INSTA paints its classes; the red channel tells them apart.
CELEB_OF_INSTA_RED = {260 - 10 * label: label for label in Label if label != Label.BACKGROUND}


def source_mask(source: SourceFrame, size: tuple[int, int]) -> UInt8[np.ndarray, "H W"] | None:
    """The frame's mask: its own file, else the picture's alpha channel, else None.

    Raises `SubjectError` where the file is missing or has another size than the pictures.
    """
    if source.mask is not None:
        mask = read_grey(source.mask)
        if mask.shape != size:
            raise SubjectError(
                f"mixed resolutions: the mask {source.mask} is {mask.shape[1]}x{mask.shape[0]},"
                f" the pictures are {size[1]}x{size[0]}",
                hint="export masks at the size of the pictures",
            )
        return mask
    picture = decoded(source.image.read_bytes(), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise SubjectError(f"{source.image} is not a picture", hint="copy the data set again")
    if picture.ndim == 3 and picture.shape[2] == 4:
        alpha = picture[..., 3]
        return alpha if alpha.dtype == np.uint8 else (alpha // 257).astype(np.uint8)
    return None


def source_label(source: SourceFrame, size: tuple[int, int], code: LabelCode) -> UInt8[np.ndarray, "H W"] | None:
    """CelebAMask-19 ids at the pictures' size, or None without a label image.

    IMavatar's are 512 x 512 whatever the pictures are, so labels of another size are scaled.
    """
    if source.label is None:
        return None
    if code == "insta":
        table = np.zeros(256, np.uint8)
        for red, label in CELEB_OF_INSTA_RED.items():
            table[red] = label
        labels = table[read_rgb(source.label)[..., 0]]
    else:
        labels = read_grey(source.label)
        if labels.max() > OCCLUDED:
            raise SubjectError(
                f"{source.label} holds the label {labels.max()}, CelebAMask-19 ends at {len(Label) - 1}",
                hint="use label images of face-parsing (one channel, ids 0 to 18)",
            )
    if labels.shape != size:
        labels = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return labels


def is_plain_png(path: Path) -> bool:
    """Whether the file can be taken over as it is: an RGB picture of 8 bits without alpha."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 8 and head[25] == 2
