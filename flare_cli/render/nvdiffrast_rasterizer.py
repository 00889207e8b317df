"""The rasterizer of nvdiffrast (NVIDIA; non-commercial licence), on NVIDIA GPUs.

Never chosen by "auto". Where it departs from the contract of `Rasterizer`:
- it snaps vertices to 1/16 pixel before it decides which pixels a triangle covers, and clamps barycentrics to 0..1 in
  the sliver between the snapped and the true edge;
- it damps the gradients of triangles that cover about a pixel or less;
- of equally near triangles it takes one of its own choice;
- a vertex that is not a number may hide more than its own triangles;
- its antialiasing sees only edges of the two triangles that meet between two pixels, so outlines made of slivers are
  blended less often, and several edges at one pixel may take the result out of the image's range;
- it adds gradients in no fixed order, and waits for the GPU in every call: a CUDA graph cannot capture it.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from flare_cli.render.backend import Fragments, Pixels, no_fragments
from flare_cli.render.optional import NVDIFFRAST, require_cuda
from flare_cli.render.topology import Topology


@final
class NvdiffrastRasterizer:
    """Rasterizer on nvdiffrast's CUDA context, which it keeps."""

    name = "nvdiffrast"
    capturable = False

    def __init__(self, device: torch.device) -> None:
        require_cuda(self.name, device, "use the rasterizer auto (--rasterizer auto) here")
        self._ops: Any = NVDIFFRAST.load(".torch")
        self._context = self._ops.RasterizeCudaContext(device)
        self._topology = Topology()
        self._edges = WeakTensorKeyDictionary()

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre."""
        if len(faces) == 0:
            return no_fragments(clip, height, width)
        faces = self._topology.int32(faces)
        seen, _ = self._ops.rasterize(self._context, _without_far_plane(clip), faces, (height, width), grad_db=False)
        depth, _ = self._ops.interpolate(clip[..., 3:].contiguous(), seen, faces)
        triangle = seen[..., 3].detach().int() - 1
        first, second = seen[..., 0], seen[..., 1]
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
        everywhere, _ = self._ops.interpolate(attributes.contiguous(), _seen(fragments), self._topology.int32(faces))
        flat = everywhere.view(-1, channels)
        values = flat.index_select(0, pixels.index.clamp(max=len(flat) - 1))
        return values if pixels.found is None else torch.where((pixels.index < len(flat))[:, None], values, 0.0)

    def antialias(
        self,
        image: Float[Tensor, "B H W C"],
        clip: Float[Tensor, "B V 4"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
    ) -> Float[Tensor, "B H W C"]:
        """Blend across silhouettes by where the edge passes between pixels; gradients to image and clip."""
        if len(faces) == 0:
            return image
        if faces not in self._edges:
            self._edges[faces] = self._ops.antialias_construct_topology_hash(self._topology.int32(faces))
        return self._ops.antialias(
            image.contiguous(),
            _seen(fragments).detach(),
            clip.contiguous(),
            self._topology.int32(faces),
            topology_hash=self._edges[faces],
        )


def _without_far_plane(clip: Float[Tensor, "B V 4"]) -> Float[Tensor, "B V 4"]:
    """The same positions with z halfway to -w: near stays at -w, and what lies beyond far comes in front of +w."""
    x, y, z, w = clip.unbind(-1)
    return torch.stack([x, y, 0.5 * (z - w), w], -1)


def _seen(fragments: Fragments) -> Float[Tensor, "B H W 4"]:
    """nvdiffrast's picture of what is seen: two barycentrics, something that grows with depth, triangle + 1."""
    return torch.cat(
        [fragments.barycentric[..., :2], fragments.depth[..., None], (fragments.triangle[..., None] + 1).float()], -1
    )
