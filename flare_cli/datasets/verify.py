"""An import proves itself: the head is projected where the pictures show it, or the import is refused with a cause."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flare_cli.errors import SubjectError
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras
from flare_cli.subject.track import Track

# Masks hold hair, shoulders and clothes that the head model does not have: a right import overlaps by half or more.
LEAST_IOU = 0.3
# Part of the drawn head that the mask must cover.
LEAST_INSIDE = 0.7
MOST_LANDMARK_ERROR = 0.3
"""Part of the distance between the eyes' outer corners. Detectors and embeddings differ by up to a tenth."""
CHECKED_FRAMES = 8
CHECKED_HEIGHT = 256

IBUG_JAW = 17
"""The first of iBUG's 68 lie along the jaw's outline, wherever that is in a view: they are not compared."""
EYE_CORNERS, EYE_CORNERS_68 = (33, 263), (36 - IBUG_JAW, 45 - IBUG_JAW)
ALTERNATIVES = {
    "camera axes look like OpenGL where OpenCV was read (or the other way round)": (True, 1.0),
    "the world's unit looks 4 times too large": (False, 0.25),
    "the world's unit looks 4 times too small": (False, 4.0),
    "camera axes look like OpenGL where OpenCV was read, and the world's unit looks 4 times too large": (True, 0.25),
    "camera axes look like OpenGL where OpenCV was read, and the world's unit looks 4 times too small": (True, 4.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How well the projected head meets the pictures; means over the frames that were checked.

    `landmark_error` is the median distance in pixels, `relative_error` the same over the distance between the eyes;
    None without key points. `inside` is the part of the head's silhouette that the mask covers.
    """

    frames: int
    iou: float | None
    inside: float | None
    landmark_error: float | None
    relative_error: float | None


def prove(
    track: Track,
    head: HeadModel,
    *,
    masks: Float[np.ndarray, "N H W"] | None,
    keypoints: Float[np.ndarray, "N K 2"] | None,
) -> Proof:
    """Compare the frames of `track` with masks (0..1, any size of the same aspect) and key points (pixels).

    Raises `SubjectError` naming the likely cause if they do not meet.
    """
    proof = _measured(track, head, masks, keypoints)
    complaints = _complaints(proof)
    if not complaints:
        return proof
    cause = _likely_cause(track, head, masks, keypoints, proof)
    raise SubjectError(
        f"the head is not where the pictures show it: {' and '.join(complaints)}: {cause}",
        hint="check --format and --head, and that pictures and tracking belong together",
    )


def checked_indices(count: int) -> list[int]:
    """Frames worth checking: a few, spread over the recording."""
    return torch.linspace(0, count - 1, min(CHECKED_FRAMES, count)).round().long().tolist()


def _complaints(proof: Proof) -> list[str]:
    complaints: list[str] = []
    # Long hair or a whole torso in the mask makes the overlap small: a head inside it whose key points meet is right.
    points_meet = proof.relative_error is not None and proof.relative_error < MOST_LANDMARK_ERROR / 2
    met = points_meet and proof.inside is not None and proof.inside > LEAST_INSIDE
    if proof.iou is not None and proof.iou < LEAST_IOU and not met:
        complaints.append(f"silhouette IoU {proof.iou:.2f} (at least {LEAST_IOU} is expected)")
    if proof.relative_error is not None and not proof.relative_error < MOST_LANDMARK_ERROR:
        complaints.append(
            f"landmarks are off by {proof.landmark_error:.1f} pixels, {proof.relative_error:.0%} of the eyes' distance"
        )
    return complaints


def _likely_cause(
    track: Track,
    head: HeadModel,
    masks: Float[np.ndarray, "N H W"] | None,
    keypoints: Float[np.ndarray, "N K 2"] | None,
    proof: Proof,
) -> str:
    for cause, (flipped, scale) in ALTERNATIVES.items():
        other = _measured(_as_if(track, flipped=flipped, scale=scale), head, masks, keypoints)
        if not _complaints(other) and (other.iou or 0) >= (proof.iou or 0):
            return cause
    return "no other axes or scale explain it; perhaps the FLAME edition, the frame numbers or the crop differ"


def _as_if(track: Track, *, flipped: bool, scale: float) -> Track:
    """The track if its camera had been read with other axes or its positions in another unit."""
    view = track.camera.camera_from_world.clone()
    view[:, :, 3] *= scale
    if flipped:
        view[:, 1:] *= -1
    return replace(track, translation=track.translation * scale, camera=replace(track.camera, camera_from_world=view))


def _measured(
    track: Track,
    head: HeadModel,
    masks: Float[np.ndarray, "N H W"] | None,
    keypoints: Float[np.ndarray, "N K 2"] | None,
) -> Proof:
    vertices = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    ious, insides = ([], []) if masks is None else _overlaps(head, track.cameras(), vertices, masks)
    error, relative = (None, None) if keypoints is None else _distances(head, track.cameras(), vertices, keypoints)
    return Proof(
        frames=len(track),
        iou=float(np.mean(ious)) if ious else None,
        inside=float(np.mean(insides)) if insides else None,
        landmark_error=error,
        relative_error=relative,
    )


def _overlaps(
    head: HeadModel, cameras: Cameras, vertices: Float[Tensor, "B V 3"], masks: Float[np.ndarray, "B H W"]
) -> tuple[list[float], list[float]]:
    drawn = silhouettes(head, cameras, vertices)
    ious: list[float] = []
    insides: list[float] = []
    for silhouette, mask in zip(drawn, masks, strict=True):
        person = cv2.resize(mask.astype(np.float32), silhouette.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
        both, either = (silhouette & person).sum(), (silhouette | person).sum()
        ious.append(float(both / max(either, 1)))
        insides.append(float(both / max(silhouette.sum(), 1)))
    return ious, insides


def silhouettes(head: HeadModel, cameras: Cameras, vertices: Float[Tensor, "B V 3"]) -> Bool[np.ndarray, "B h w"]:
    """Which pixels the posed head covers, in small pictures of the cameras' aspect."""
    height = min(CHECKED_HEIGHT, cameras.height)
    small = cameras.resized(height, max(1, round(cameras.width * height / cameras.height)))
    rasterizer = choose_rasterizer(device=vertices.device)
    fragments = rasterizer.rasterize(small.clip(vertices), head.faces, small.height, small.width)
    return (fragments.triangle >= 0).cpu().numpy()


def _distances(
    head: HeadModel, cameras: Cameras, vertices: Float[Tensor, "B V 3"], keypoints: Float[np.ndarray, "B K 2"]
) -> tuple[float | None, float | None]:
    """Median distance of projected from given points, in pixels and over the eyes' distance; None without points."""
    if keypoints.shape[1] == 68:
        points = landmark_points(head, vertices, head.landmarks68)[:, IBUG_JAW:]
        given, corners = keypoints[:, IBUG_JAW:], EYE_CORNERS_68
    else:
        points, given, corners = landmark_points(head, vertices), keypoints, EYE_CORNERS
    ours = cameras.project(points).cpu().numpy()
    given = given[:, : ours.shape[1]]
    ours = ours[:, : given.shape[1]]
    distance = np.linalg.norm(given - ours, axis=-1)
    known = np.isfinite(distance)
    if not known.any():
        return None, None
    eyes = np.linalg.norm(ours[:, corners[0]] - ours[:, corners[1]], axis=-1)
    relative = distance / np.maximum(eyes, 1e-6)[:, None]
    return float(np.median(distance[known])), float(np.median(relative[known]))
