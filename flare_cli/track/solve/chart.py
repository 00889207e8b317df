"""Parts of the head's surface laid out flat: squares whose texels are points of it.

The same place of the surface is the same texel in every frame, whatever head model it is: only its landmarks and joints
are asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import at_points, landmark_points
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.geometry import vertex_normals
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_LIDS, LIPS, RIGHT_LIDS

# A texel is about as large as a pixel of a face that fills a picture of 256 pixels. Chosen before any other was tried.
TEXELS = 160
# Triangles that reach farther to a side than this (radians from the front) are left out: none may cross the seam.
FARTHEST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The texels on the surface: `index` into a square of `TEXELS` to a side, row by row; `head` has them as its
    vertices."""

    index: Int[np.ndarray, "T"]
    head: HeadModel
    normals: Float[Tensor, "T 3"]

    def square(self, values: Shaped[np.ndarray, "T *C"], *, elsewhere: float) -> Shaped[np.ndarray, "n n *C"]:
        """Values of the texels on the surface in their square, and `elsewhere` around them."""
        whole = np.full((TEXELS * TEXELS, *values.shape[1:]), elsewhere, values.dtype)
        whole[self.index] = values
        return whole.reshape(TEXELS, TEXELS, *values.shape[1:])


def face_chart(head: HeadModel) -> Chart:
    """Unroll the mean head's face onto a cylinder, without eyes and mouth. The head is on the CPU."""
    marks = landmark_points(head, head.template[None])[0]
    oval = marks[list(FACE_OVAL)]
    oval = oval[oval.isfinite().all(1)]
    low, high = oval[:, 1].min(), oval[:, 1].max()
    # Where the face is widest, before the ears, the skin faces to the side: the axis lies between there.
    widest = oval[oval[:, 0].abs().argsort()[-4:]]
    axis = torch.stack([marks.new_zeros(()), widest[:, 2].mean()])

    def angle(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        return torch.atan2(*(points[:, [0, 2]] - axis).unbind(1))

    widest_angle = angle(oval).abs().max()

    def unrolled(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
        """Angle and height, -1..1 on the face, y down."""
        return torch.stack([angle(points) / widest_angle, 1 - 2 * (points[:, 1] - low) / (high - low)], 1)

    def region(landmarks: tuple[int, ...]) -> Bool[np.ndarray, "n n"]:
        """Inside of the hull of some landmarks, of those that the head has."""
        corners = unrolled(marks[list(landmarks)]).numpy()
        corners = (corners[np.isfinite(corners).all(1)] + 1) / 2 * TEXELS - 0.5
        inside = np.zeros((TEXELS, TEXELS), np.uint8)
        if len(corners):
            cv2.fillConvexPoly(inside, cv2.convexHull(np.round(corners).astype(np.int32)), 1)
        return inside > 0

    in_front = (angle(head.template).abs() < FARTHEST)[head.faces].all(1).nonzero()[:, 0]
    radius = (head.template[:, [0, 2]] - axis).norm(dim=1)
    is_skin = region(FACE_OVAL) & ~region(RIGHT_LIDS) & ~region(LEFT_LIDS) & ~region(LIPS)
    return _laid_out(head, unrolled(head.template), in_front, nearness=radius, inside=is_skin)


def torso_chart(head: HeadModel) -> Chart | None:
    """What hangs on the mean head's root joint and not on its neck, as seen from the front; None where nothing does.

    The head is on the CPU.
    """
    of_root = (head.weights[:, Joint.ROOT] > 0.5)[head.faces].all(1).nonzero()[:, 0]
    if len(of_root) == 0:
        return None
    torso = head.template[head.faces[of_root].unique()]
    half_width, top = torso[:, 0].abs().max(), torso[:, 1].max()
    places = torch.stack([head.template[:, 0], top - half_width - head.template[:, 1]], 1) / half_width
    everywhere = np.ones((TEXELS, TEXELS), bool)
    return _laid_out(head, places, of_root, nearness=head.template[:, 2], inside=everywhere)


def _laid_out(
    head: HeadModel,
    places: Float[Tensor, "V 2"],
    faces: Int[Tensor, "F"],
    *,
    nearness: Float[Tensor, "V"],
    inside: Bool[np.ndarray, "n n"],
) -> Chart:
    """The chart on which vertices lie at `places` (-1..1, y down). Of surfaces above each other the nearest is seen."""
    depth = (1 - nearness)[:, None]  # metres; rasterizers sort by clip w
    clip = torch.cat([places * depth, torch.zeros_like(depth), depth], 1)
    seen = choose_rasterizer(device=clip.device).rasterize(clip[None], head.faces[faces], TEXELS, TEXELS)
    index = np.flatnonzero(inside & (seen.triangle[0] >= 0).numpy())
    face = faces[seen.triangle[0].flatten()[index].long()]
    barycentric = seen.barycentric[0].flatten(0, 1)[index]
    normals = vertex_normals(head.template[None], head.faces)[0][head.faces[face]]
    return Chart(
        index=index,
        head=at_points(head, face, barycentric),
        normals=torch.nn.functional.normalize((barycentric[..., None] * normals).sum(1), dim=-1),
    )
