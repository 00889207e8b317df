"""Between a texture and the surface it lies on: which texel lies where, and what each shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.avatar.material import Material
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.raster.fragments import foreground


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialTextures:
    """Pictures in place of parts of a material: row 0 at v = 1, linear in 0..1; None leaves a part alone."""

    albedo: Float[Tensor, "3 _ _"] | None = None
    roughness: Float[Tensor, "1 _ _"] | None = None
    specular: Float[Tensor, "1 _ _"] | None = None

    def over(self, material: Material, uv: Float[Tensor, "P 2"]) -> Material:
        """The material at texture coordinates (v up), with what these pictures show there, bilinearly."""
        grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
        pictures = {"albedo": self.albedo, "roughness": self.roughness, "specular": self.specular}
        return replace(
            material,
            **{
                name: torch.nn.functional.grid_sample(picture[None], grid, padding_mode="border", align_corners=False)[
                    0, :, 0
                ].T.contiguous()
                for name, picture in pictures.items()
                if picture is not None
            },
        )


def rasterize_uv(
    uv: Float[Tensor, "T 2"], uv_faces: Int[Tensor, "F 3"], size: int
) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"], Float[Tensor, "P 3"]]:
    """Texels whose centre some triangle covers: flat index (row 0 at v = 1), triangle and barycentric coordinates.

    Where triangles overlap in the atlas, the lowest wins.
    """
    u, v = uv.unbind(-1)
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], -1)[None]
    fragments = choose_rasterizer("auto", uv.device).rasterize(clip, uv_faces, size, size)
    texels = foreground(fragments).index
    return texels, fragments.triangle.flatten()[texels].long(), fragments.barycentric.view(-1, 3)[texels]


def largest_gap(
    uv: Float[Tensor, "T 2"], uv_faces: Int[Tensor, "F 3"], size: int = 512
) -> tuple[Float[Tensor, "2"], float]:
    """The largest disc of an atlas (centre and radius) that no triangle is in, by `size` texels, two of them apart."""
    from scipy import ndimage  # as below

    empty = np.zeros((size + 2, size + 2), bool)  # beyond the edge there is nothing
    texels = rasterize_uv(uv, uv_faces, size)[0].cpu().numpy()
    empty[1:-1, 1:-1] = True
    empty[1 + texels // size, 1 + texels % size] = False
    distance = np.asarray(ndimage.distance_transform_edt(empty))
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    centre = torch.tensor([(column - 0.5) / size, 1 - (row - 0.5) / size], dtype=torch.double)
    return centre, max(float(distance.max()) - 2, 0.0) / size


def fill_gutters(picture: Float[np.ndarray, "H W C"], covered: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W C"]:
    """Give every texel outside the islands the value of the nearest covered one, so that filtering bleeds no black."""
    if not covered.any():
        return picture
    from scipy import ndimage  # takes as long to load as much of a fit's start, which has no textures

    nearest = np.asarray(ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return picture[nearest[0], nearest[1]]
