"""What every importer returns: the videos of a data set with cameras in OpenCV axes and metres, and nothing lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, UnidentifiedImageError

from flare_cli.errors import SubjectError

LabelCode = Literal["celeb", "insta"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFrame:
    """Where one frame's files are. Without a mask the picture's alpha channel is the mask, if it has one."""

    name: str
    image: Path
    mask: Path | None = None
    label: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVideo:
    """One recording by one camera, in float64.

    `camera_from_world` may differ from frame to frame (head-fixed worlds). `pose` is axis-angle: root, neck, jaw, left
    eye, right eye. `held_out` marks frames that the data set keeps for evaluation. `keypoints` (pixels, NaN where
    one is missing) are the 68 of iBUG or the 478 of MediaPipe.
    """

    name: str
    sources: tuple[SourceFrame, ...]
    expression: Float[np.ndarray, "N E"]
    pose: Float[np.ndarray, "N 5 3"]
    translation: Float[np.ndarray, "N 3"]
    camera_from_world: Float[np.ndarray, "N 3 4"]
    intrinsics: Float[np.ndarray, "4"]
    held_out: Bool[np.ndarray, "N"]
    keypoints: Float[np.ndarray, "N K 2"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSequences:
    """A data set of one person.

    `heads` are the head models whose coefficients these may be, the likeliest first. With `root_centred` the posed head
    was moved so that its root joint lay at the origin before the translation. `notes` say what could not be kept.
    """

    format: str
    folder: Path
    heads: tuple[str, ...]
    shape: Float[np.ndarray, "S"]
    videos: tuple[ImportedVideo, ...]
    height: int
    width: int
    split: bool
    head_fixed: bool = False
    root_centred: bool = False
    labels: LabelCode = "celeb"
    notes: tuple[str, ...] = ()


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header. Raises `SubjectError` where there is no picture."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except FileNotFoundError:
        raise SubjectError(
            f"the frame {path} is listed but does not exist", hint="copy the whole data set, pictures included"
        ) from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise SubjectError(f"{path} is not a picture: {error}", hint="copy the data set again") from error
    return height, width


def common_size(paths: list[Path]) -> tuple[int, int]:
    """The size of all pictures. Raises `SubjectError` if there are several, naming the first odd one."""
    expected = picture_size(paths[0])
    for path in paths[1:]:
        size = picture_size(path)
        if size != expected:
            raise SubjectError(
                f"mixed resolutions: {path} is {size[1]}x{size[0]}, but {paths[0]} is {expected[1]}x{expected[0]}",
                hint="all pictures of a subject have one size; scale them alike, or import one video at a time",
            )
    return expected
