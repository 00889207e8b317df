"""Where the tracked head and its regions lie in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.geometry import vertex_normals
from flare_cli.subject.track import Track

# Later names win where regions overlap.
REGION_NAMES = ("skin", "scalp", "neck", "face", "nose", "ears", "lips", "eyes", "inner_mouth", "teeth", "tongue")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedHead:
    """A head in one picture: the region each pixel shows (0 none, else 1 + index), grey shading, the neck's rim."""

    regions: UInt8[np.ndarray, "H W"]
    shading: UInt8[np.ndarray, "H W"]
    rim: Float[np.ndarray, "K 2"]

    def shows(self, name: str) -> Bool[np.ndarray, "H W"]:
        """Pixels in which region `name` is seen."""
        return self.regions == 1 + REGION_NAMES.index(name)


@final
class HeadProjector:
    """Projects one head model frame by frame."""

    def __init__(self, head: HeadModel) -> None:
        self._head = head
        self._face_region = _face_regions(head)
        self._rim = torch.nonzero(head.regions["boundary"])[:, 0]
        self._rasterizer = choose_rasterizer(device=head.template.device)

    def __call__(self, track: Track, index: int) -> ProjectedHead:
        """Frame `index` of `track` as its camera sees it; drawn on the head's device."""
        one = track[index : index + 1].to(self._head.template.device)
        camera = one.cameras()
        vertices = pose_vertices(
            self._head, shape=one.shape, expression=one.expression, pose=one.pose, translation=one.translation
        )
        faces = self._head.faces
        seen = self._rasterizer.rasterize(camera.clip(vertices), faces, camera.height, camera.width).triangle[0].long()
        light = vertex_normals(vertices, faces)[0] @ vertices.new_tensor([0.3, 0.4, 0.86])
        shade = 40 + 190 * light.clamp(0, 1)[faces].mean(1)
        onto_pixels = lambda per_face: torch.where(seen >= 0, per_face[seen], 0).byte().cpu().numpy()  # noqa: E731
        return ProjectedHead(
            regions=onto_pixels(self._face_region),
            shading=onto_pixels(shade),
            rim=camera.project(vertices[:, self._rim])[0].cpu().numpy(),
        )


def _face_regions(head: HeadModel) -> Int[Tensor, "F"]:
    region = torch.ones(len(head.faces), dtype=torch.long, device=head.faces.device)
    for index, name in enumerate(REGION_NAMES):
        if name in head.regions:
            region[head.regions[name][head.faces].sum(1) >= 2] = 1 + index
    return region
