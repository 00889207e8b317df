"""The rasterizer of PyTorch3D (BSD-3), on CPU and CUDA.

It finds triangles, barycentrics and depth with PyTorch3D's own kernels and gradients. PyTorch3D has no near plane that
suits clip space: triangles are cut here. Never chosen by "auto": its CPU kernel tests every triangle at every pixel.
Where it departs from the contract of `Rasterizer`:
- a pixel centre exactly on an edge belongs to no triangle, also on an edge that two triangles share;
- triangles of less than 1e-8 (in units of half the shorter side of the picture, squared) are not drawn;
- on a GPU, of equally near triangles it takes one of its own choice, and it adds gradients in no fixed order;
- it waits for the GPU (how many triangles the near plane cuts decides shapes): a CUDA graph cannot capture it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.optional import PYTORCH3D
from flare_cli.render.raster.fragments import Fragments, Pixels, no_fragments


@final
class Pytorch3dRasterizer:
    """Rasterizer on `pytorch3d.renderer.mesh.rasterize_meshes`."""

    name = "pytorch3d"
    capturable = False

    def __init__(self) -> None:
        self._rasterize_meshes: Any = PYTORCH3D.load(".renderer.mesh.rasterize_meshes").rasterize_meshes
        self._meshes: Any = PYTORCH3D.load(".structures").Meshes
        self._interpolate: Any = PYTORCH3D.load(".ops.interp_face_attrs").interpolate_face_attributes

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre."""
        pieces = _cut_at_near(clip, faces.long())
        if len(pieces.face) == 0:
            return no_fragments(clip, height, width)
        counts = torch.bincount(pieces.picture, minlength=len(clip)).tolist()
        corners = _ndc(pieces.corners, height, width).flatten(0, 1).split([3 * count for count in counts])
        corner_numbers = [torch.arange(3 * count, device=clip.device).view(-1, 3) for count in counts]
        pieces_seen, depth, barycentric, _ = self._rasterize_meshes(
            self._meshes(list(corners), corner_numbers),
            image_size=(height, width),
            faces_per_pixel=1,
            max_faces_per_bin=max(counts),  # fewer would drop triangles where many meet
            perspective_correct=True,
        )
        piece = pieces_seen[..., 0]
        is_covered = piece >= 0
        piece = piece.clamp(min=0)
        # Barycentrics in a piece times the piece's corners in its triangle.
        barycentric = torch.einsum("bhwi,bhwij->bhwj", barycentric[..., 0, :], pieces.weights[piece])
        return Fragments(
            torch.where(is_covered, pieces.face[piece], -1).int(),
            torch.where(is_covered[..., None], barycentric, 0.0),
            torch.where(is_covered, depth[..., 0], 0.0),
        )

    def interpolate(
        self,
        attributes: Float[Tensor, "A V C"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
        pixels: Pixels,
    ) -> Float[Tensor, "P C"]:
        """Vertex attributes at `pixels`; gradients to attributes and barycentrics. `A` is B, or 1 for all pictures."""
        count, channels = len(pixels.index), attributes.shape[2]
        if len(faces) == 0 or count == 0:
            return attributes.new_zeros(count, channels)
        last = fragments.triangle.numel() - 1
        index = pixels.index.clamp(max=last)
        triangle = fragments.triangle.flatten()[index].long()
        if len(attributes) > 1:
            triangle = triangle + pixels.batch * len(faces)
        triangle = torch.where(pixels.index <= last, triangle, -1)  # nothing at padding
        values = self._interpolate(
            triangle.view(1, count, 1, 1),
            fragments.barycentric.view(-1, 3).index_select(0, index).view(1, count, 1, 1, 3),
            attributes[:, faces.long()].flatten(0, 1),
        )
        return values.view(count, channels)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """`N` triangles in front of the near plane, picture by picture: each a whole triangle or what the cut left of one.

    `weights` are the piece's corners as mixtures of its triangle's corners.
    """

    corners: Float[Tensor, "N 3 4"]
    weights: Float[Tensor, "N 3 3"]
    face: Int[Tensor, " N"]
    picture: Int[Tensor, " N"]


def _cut_at_near(clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"]) -> _Pieces:
    """Cut every triangle at the near plane, z = -w.

    The weights carry no gradient: whatever they are, the surface stays where it is.
    """
    triangles = clip[:, faces]  # B F 3 4
    with torch.no_grad():
        ahead = triangles[..., 2] + triangles[..., 3]
        in_front = ahead >= 0
        drawable = triangles.isfinite().flatten(2).all(-1)
        uncut = in_front.all(-1) & drawable
        crossing = in_front.any(-1) & ~uncut & drawable
        picture, face = torch.nonzero(uncut, as_tuple=True)
        cut_picture, cut_face = torch.nonzero(crossing, as_tuple=True)
        weights, source = _cut_weights(ahead[cut_picture, cut_face])
        picture = torch.cat([picture, cut_picture[source]])
        order = torch.argsort(picture, stable=True)
        picture = picture[order]
        face = torch.cat([face, cut_face[source]])[order]
        corners = torch.eye(3, device=clip.device).expand(len(order) - len(source), 3, 3)
        weights = torch.cat([corners, weights])[order]
    return _Pieces(weights @ triangles[picture, face], weights, face, picture)


def _cut_weights(ahead: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "M 3 3"], Int[Tensor, " M"]]:
    """Corners of what lies in front of the plane, and of which triangle; `ahead` are distances that differ in sign.

    One corner is alone on its side (a). If it is in front, a triangle is left, otherwise a quadrilateral, as two.
    """
    in_front = ahead >= 0
    alone = torch.where(in_front.sum(1, keepdim=True) == 1, in_front, ~in_front).int().argmax(1)
    a, b, c = ((alone + k) % 3 for k in range(3))
    unit = torch.eye(3, device=ahead.device)

    def meeting(i: Int[Tensor, "N"], j: Int[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """Where the edge ij meets the plane; the same from both sides, so neighbours leave no gap."""
        at_i, at_j = (ahead.gather(1, k[:, None]) for k in (i, j))
        return unit[i] * (at_j / (at_j - at_i)) + unit[j] * (at_i / (at_i - at_j))

    ab, ac = meeting(a, b), meeting(a, c)
    tip = in_front.gather(1, a[:, None])[:, 0]
    index = torch.arange(len(ahead), device=ahead.device)
    tips = torch.stack([unit[a], ab, ac], 1)[tip]
    first = torch.stack([ab, unit[b], unit[c]], 1)[~tip]
    second = torch.stack([ab, unit[c], ac], 1)[~tip]
    return torch.cat([tips, first, second]), torch.cat([index[tip], index[~tip], index[~tip]])


def _ndc(corners: Float[Tensor, "N 3 4"], height: int, width: int) -> Float[Tensor, "N 3 3"]:
    """PyTorch3D's screen: x left, y up, -1..1 along the picture's shorter side; z is camera depth."""
    x, y, _, w = corners.unbind(-1)
    shorter = min(height, width)
    return torch.stack([-x / w * (width / shorter), -y / w * (height / shorter), w], -1)
