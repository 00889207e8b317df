"""What is measured of a recording's frames: from where the face is seen, what mouth and eyes do, and the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from flare_cli.head.joints import Joint
from flare_cli.track.face.head_crop import CHIN, FOREHEAD
from flare_cli.track.face.landmarks import LEFT_EYE_INNER, LEFT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER
from flare_cli.track.review.frame_pixels import FramePixels

UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14
# Upper lid, lower lid, and the eye's corners.
EYES = ((159, 145, RIGHT_EYE_OUTER, RIGHT_EYE_INNER), (386, 374, LEFT_EYE_INNER, LEFT_EYE_OUTER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Measures of the N frames that are kept, of `read` that were read.

    `yaw` and `pitch` say from where the camera sees the face (`view_angles`). `mouth` is the gap between the lips over
    the distance of the eyes' outer corners, `eyes` the gap between the lids over the eye's width, mean of both eyes.
    `face_height` is in pixels of the video. `background` is where what is behind the person has moved to, to the right
    and down in picture widths and in the logarithm of its size, NaN where that is not known. `error` is the tracking's
    (`FrameQuality`). `pixels` has arrays by the names of `FramePixels`, with `blur` in parts of the face's height.
    """

    read: int
    yaw: Float[np.ndarray, "N"]
    pitch: Float[np.ndarray, "N"]
    mouth: Float[np.ndarray, "N"]
    eyes: Float[np.ndarray, "N"]
    face_height: Float[np.ndarray, "N"]
    background: Float[np.ndarray, "N 3"]
    error: Float[np.ndarray, "N"]
    pixels: dict[str, Float[np.ndarray, "N"]]

    def __len__(self) -> int:
        return len(self.yaw)


def measure_recording(
    *,
    read: int,
    pose: Float[np.ndarray, "N J 3"],
    translation: Float[np.ndarray, "N 3"],
    camera_centre: Float[np.ndarray, "3"],
    points: Float[np.ndarray, "N 478 3"],
    scale: float,
    background: Float[np.ndarray, "N 3"],
    error: Float[np.ndarray, "N"],
    pixels: Sequence[FramePixels],
) -> Recording:
    """Put the measures of track, landmarks (`points`, pixels of the video) and pictures side by side.

    `scale` is the pictures' pixels per pixel of the video.
    """
    yaw, pitch = view_angles(pose, translation, camera_centre)
    height = _distance(points, FOREHEAD, CHIN)
    columns = {name: np.array([getattr(frame, name) for frame in pixels]) for name in FramePixels.__slots__}
    columns["blur"] = columns["blur"] / (height * scale)
    gap = _distance(points, UPPER_INNER_LIP, LOWER_INNER_LIP)
    lids = [_distance(points, upper, lower) / _distance(points, *corners) for upper, lower, *corners in EYES]
    return Recording(
        read=read,
        yaw=yaw,
        pitch=pitch,
        mouth=gap / _distance(points, RIGHT_EYE_OUTER, LEFT_EYE_OUTER),
        eyes=np.mean(lids, axis=0),
        face_height=height,
        background=background,
        error=error,
        pixels=columns,
    )


def view_angles(
    pose: Float[np.ndarray, "N J 3"], translation: Float[np.ndarray, "N 3"], camera_centre: Float[np.ndarray, "*N 3"]
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """From where a camera sees the face, in degrees: yaw to the subject's left, pitch to above, 0 straight ahead.

    `pose` is axis-angle (radians), places are in the world (metres). The head stands at `translation`: what turns about
    the root joint moves it by, a few centimetres, is left out.
    """
    head_in_world = Rotation.from_rotvec(pose[:, Joint.ROOT]) * Rotation.from_rotvec(pose[:, Joint.NECK])
    x, y, z = head_in_world.inv().apply(camera_centre - translation).T
    return np.degrees(np.arctan2(x, z)), np.degrees(np.arctan2(y, np.hypot(x, z)))


def _distance(points: Float[np.ndarray, "N 478 3"], one: int, other: int) -> Float[np.ndarray, "N"]:
    """In the picture's plane."""
    return np.linalg.norm(points[:, one, :2] - points[:, other, :2], axis=-1)
