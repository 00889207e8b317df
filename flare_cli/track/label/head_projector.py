"""Where the tracked head and its regions lie in a picture."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.geometry import vertex_normals
from flare_cli.subject.track import Track
from flare_cli.track.label.projected_head import REGION_NAMES, ProjectedHead


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
        return self.several(track[index : index + 1])[0]

    def several(self, track: Track) -> list[ProjectedHead]:
        """All frames of a short track, drawn at once."""
        track = track.to(self._head.template.device)
        camera = track.cameras()
        vertices = pose_vertices(
            self._head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
        )
        faces = self._head.faces
        triangle = self._rasterizer.rasterize(camera.clip(vertices), faces, camera.height, camera.width).triangle
        light = vertex_normals(vertices, faces) @ vertices.new_tensor([0.3, 0.4, 0.86])
        shade = (40 + 190 * light.clamp(0, 1)[:, faces].mean(2)).byte()
        region = self._face_region.byte().expand(len(track), -1)

        one_more = (triangle.flatten(1) + 1).long()  # 0: none

        def onto_pixels(per_face: UInt8[Tensor, "B F"]) -> UInt8[np.ndarray, "B H W"]:
            return torch.nn.functional.pad(per_face, (1, 0)).gather(1, one_more).view_as(triangle).cpu().numpy()

        parts = (
            triangle.int().cpu().numpy(),
            onto_pixels(region),
            onto_pixels(shade),
            camera.project(vertices[:, self._rim]).cpu().numpy(),
        )
        return [ProjectedHead(triangle=t, regions=r, shading=s, rim=rim) for t, r, s, rim in zip(*parts, strict=True)]


def _face_regions(head: HeadModel) -> Int[Tensor, "F"]:
    region = torch.ones(len(head.faces), dtype=torch.long, device=head.faces.device)
    for index, name in enumerate(REGION_NAMES):
        if name in head.regions:
            region[head.regions[name][head.faces].sum(1) >= 2] = 1 + index
    return region
