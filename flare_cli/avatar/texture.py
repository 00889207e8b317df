"""Between a texture and the surface it lies on: which triangle each texel shows, and what to put in the gutters."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.raster.fragments import foreground


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


def fill_gutters(picture: Float[np.ndarray, "H W C"], covered: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W C"]:
    """Give every texel outside the islands the value of the nearest covered one, so that filtering bleeds no black."""
    if not covered.any():
        return picture
    nearest = np.asarray(ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return picture[nearest[0], nearest[1]]
