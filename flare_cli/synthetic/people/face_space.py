"""Where on a face each vertex is, in words that hold for any head: places on the open head's template, and regions.

Whatever is painted or carved is a function of these, so it is written once, and stays put when the head moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points

# Regions that the open head gives to skin; what else there is (eyes, teeth) has no place on a face.
SKIN_REGIONS = ("face", "lips", "brows", "nose", "scalp", "ears", "neck", "eyelids")
INNER_REGIONS = ("skin", "eyes", "teeth", "tongue", "inner_mouth", "eye_sockets")
NEAREST = 4  # vertices among which a carried value is blended
RIM_POINTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSpace:
    """`places` are where a vertex would be on the open head's template (metres); `regions` are 0..1, soft or not."""

    places: Float[np.ndarray, "V 3"]
    regions: dict[str, Float[np.ndarray, "V"]]
    rim: Bool[np.ndarray, "V"]  # the cut at the shoulders

    def carried(self, matrix: object) -> FaceSpace:
        """The same on a finer mesh, whose vertices are `matrix` (sparse) times those of this one."""
        return FaceSpace(
            places=matrix @ self.places,  # pyright: ignore[reportOperatorIssue]
            regions={name: matrix @ values for name, values in self.regions.items()},  # pyright: ignore[reportOperatorIssue]
            rim=(matrix @ self.rim.astype(float)) > 1 - 1e-6,  # pyright: ignore[reportOperatorIssue]
        )


def open_head_space(head: HeadModel) -> FaceSpace:
    """The open head's own."""
    regions = {name: mask.cpu().numpy().astype(float) for name, mask in head.regions.items()}
    rim = head.regions["boundary"] & head.regions["skin"]
    kept = {name: regions[name] for name in (*SKIN_REGIONS, *INNER_REGIONS)}
    return FaceSpace(places=head.template.double().numpy(), regions=kept, rim=rim.numpy())


def carried_space(
    head: HeadModel,
    vertices: Float[np.ndarray, "V 3"],
    landmarks: Float[np.ndarray, "68 3"],
    rim: Bool[np.ndarray, "V"],
    inner: dict[str, Bool[np.ndarray, "V"]],
) -> tuple[FaceSpace, Float[np.ndarray, "V J"]]:
    """Another head's space, by a thin plate that brings its landmarks to the open head's, and its skin weights.

    `inner` are the masks of `INNER_REGIONS`. Vertices are in metres and the usual axes, the head upright.
    """
    template = head.template.double().numpy()
    ours_skin = head.regions["skin"].numpy()
    ours_points = landmark_points(head, head.template[None], head.landmarks68)[0].double().numpy()
    ours = open_head_space(head)
    skin = inner["skin"]
    source = _anchors(vertices, skin, landmarks, rim)
    target = _anchors(template, ours_skin, ours_points, ours.rim)
    places = RBFInterpolator(source, target, kernel="thin_plate_spline", smoothing=1e-6)(vertices)
    near = KDTree(template[ours_skin])
    distance, index = near.query(places, k=NEAREST)
    share = 1 / np.maximum(distance, 1e-5)
    share = share / share.sum(1, keepdims=True)

    def blended(values: Float[np.ndarray, "N *C"]) -> Float[np.ndarray, "V *C"]:
        return np.einsum("vk,vk...->v...", share, values[ours_skin][index])

    regions = {name: np.where(skin, blended(ours.regions[name]), 0.0) for name in SKIN_REGIONS}
    regions |= {name: mask.astype(float) for name, mask in inner.items()}
    weights = blended(head.weights.double().numpy())
    return FaceSpace(places=places, regions=regions, rim=rim), weights


def _anchors(
    vertices: Float[np.ndarray, "V 3"],
    skin: Bool[np.ndarray, "V"],
    landmarks: Float[np.ndarray, "68 3"],
    rim: Bool[np.ndarray, "V"],
) -> Float[np.ndarray, "N 3"]:
    """Points that mean the same on every head: landmarks, ends of ears and skull, and the rim, evenly around."""
    above_mouth = vertices[skin & (vertices[:, 1] > landmarks[33, 1])]
    points = [*landmarks, above_mouth[above_mouth[:, 1].argmax()], above_mouth[above_mouth[:, 2].argmin()]]
    for side in (-1, 1):
        reach = side * above_mouth[:, 0]
        ear = above_mouth[reach > 0.93 * reach.max()]
        points += [ear[(side * ear[:, 0]).argmax()], ear[ear[:, 1].argmax()], ear[ear[:, 1].argmin()]]
    around = vertices[rim]
    middle = around.mean(0)
    angle = np.arctan2(around[:, 0] - middle[0], around[:, 2] - middle[2])
    order = np.argsort(angle)
    wanted = np.linspace(-np.pi, np.pi, RIM_POINTS, endpoint=False)
    points += [
        np.array([np.interp(a, angle[order], around[order, axis], period=2 * np.pi) for axis in range(3)])
        for a in wanted
    ]
    return np.stack(points)
