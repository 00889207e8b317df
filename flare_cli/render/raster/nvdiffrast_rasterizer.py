"""The rasterizer of nvdiffrast (NVIDIA; non-commercial licence), on NVIDIA GPUs.

Never chosen by "auto". Where it departs from the contract of `Rasterizer` (measured: docs/backends.md):
- it snaps vertices to 1/16 pixel before it decides which pixels a triangle covers, and clamps barycentrics to 0..1 in
  the sliver between the snapped and the true edge;
- it orders by z/w, which must grow with depth as our cameras make it, and of equal ones takes the last triangle;
- it damps the gradients of triangles of about a pixel or less;
- it draws triangles with a vertex that is not a number;
- it adds gradients in no fixed order, and waits for the GPU in every call: a CUDA graph cannot capture it.

Antialiasing is ours for all rasterizers (`antialias`): nvdiffrast's own sees only edges of the two triangles that meet
between two pixels. Where triangles are no larger than pixels it blends little and hardly moves an outline: fits ended
0.35 dB lower (docs/backends.md).
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.optional import NVDIFFRAST, require_cuda
from flare_cli.render.raster.face_tables import int32_faces
from flare_cli.render.raster.fragments import Fragments, Pixels, no_fragments


@final
class NvdiffrastRasterizer:
    """Rasterizer on nvdiffrast's CUDA context, which it keeps."""

    name = "nvdiffrast"
    capturable = False

    def __init__(self, device: torch.device) -> None:
        require_cuda(self.name, device, "use the rasterizer auto (--rasterizer auto) here")
        self._ops: Any = NVDIFFRAST.load(".torch")
        self._context = self._ops.RasterizeCudaContext(device)

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre."""
        if len(faces) == 0:
            return no_fragments(clip, height, width)
        faces = int32_faces(faces)
        raster, _ = self._ops.rasterize(self._context, _without_far_plane(clip), faces, (height, width), grad_db=False)
        depth, _ = self._ops.interpolate(clip[..., 3:].contiguous(), raster, faces)
        triangle = raster[..., 3].detach().int() - 1
        first, second = raster[..., 0], raster[..., 1]
        third = torch.where(triangle >= 0, 1 - first - second, 0.0)
        return Fragments(triangle, torch.stack([first, second, third], -1), depth[..., 0])

    def interpolate(
        self,
        attributes: Float[Tensor, "A V C"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
        pixels: Pixels,
    ) -> Float[Tensor, "P C"]:
        """Vertex attributes at `pixels`; gradients to attributes and barycentrics. `A` is B, or 1 for all pictures."""
        channels = attributes.shape[2]
        if len(faces) == 0:
            return attributes.new_zeros(len(pixels.index), channels)
        everywhere, _ = self._ops.interpolate(attributes.contiguous(), _raster_picture(fragments), int32_faces(faces))
        flat = everywhere.view(-1, channels)
        values = flat.index_select(0, pixels.index.clamp(max=len(flat) - 1))
        return values if pixels.n_covered is None else torch.where((pixels.index < len(flat))[:, None], values, 0.0)


def _without_far_plane(clip: Float[Tensor, "B V 4"]) -> Float[Tensor, "B V 4"]:
    """The same positions with z halfway to -w: near stays at -w, and what lies beyond far comes in front of +w."""
    x, y, z, w = clip.unbind(-1)
    return torch.stack([x, y, 0.5 * (z - w), w], -1)


def _raster_picture(fragments: Fragments) -> Float[Tensor, "B H W 4"]:
    """nvdiffrast's picture of what is seen: two barycentrics, something that grows with depth, triangle + 1."""
    return torch.cat(
        [fragments.barycentric[..., :2], fragments.depth[..., None], (fragments.triangle[..., None] + 1).float()], -1
    )
