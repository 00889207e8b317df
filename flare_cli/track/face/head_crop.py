"""The one square to which every frame of a video is cropped, so that the camera stays still while the head moves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flare_cli.data.crop import Crop

# Room in face heights (forehead point 10 to chin point 152): hair above the face, ears and hair beside its middle, neck
# and collar below it. Chosen by eye on the development recordings.
ABOVE, BESIDE, BELOW = 0.52, 0.75, 0.52
FOREHEAD, CHIN = 10, 152


def head_crop(points: Float[np.ndarray, "N 478 3"], height: int, width: int, size: int) -> Crop:
    """The square that holds head, hair and neck in all frames whose face points are given (source pixels)."""
    face_height = np.linalg.norm(points[:, FOREHEAD, :2] - points[:, CHIN, :2], axis=-1, keepdims=True)
    # A nod shortens the face but not the head: the room is in heights of the less shortened faces.
    face_height = np.full_like(face_height, np.percentile(face_height, 75))
    low, high = points[:, :468, :2].min(1), points[:, :468, :2].max(1)
    middle = (low + high) / 2
    low = np.concatenate([middle[:, :1] - BESIDE * face_height, low[:, 1:] - ABOVE * face_height], 1)
    high = np.concatenate([middle[:, :1] + BESIDE * face_height, high[:, 1:] + BELOW * face_height], 1)
    # One wild detection must not blow the square up.
    low, high = np.percentile(low, 1, axis=0), np.percentile(high, 99, axis=0)
    side = int(np.ceil((high - low).max()))
    # Outside the picture there is nothing to see: move the square in as far as it goes.
    limits = np.array([width, height])
    side = min(side, int(limits.max()))
    corner = np.clip((low + high) / 2 - side / 2, np.minimum(0, limits - side), np.maximum(0, limits - side))
    return Crop(x=round(float(corner[0])), y=round(float(corner[1])), side=side, size=size)
