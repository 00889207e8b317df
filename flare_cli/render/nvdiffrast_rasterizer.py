"""The rasterizer of nvdiffrast (NVIDIA; non-commercial licence), on NVIDIA GPUs.

Never chosen by "auto". Where it departs from the contract of `Rasterizer` (measured: docs/backends.md):
- it snaps vertices to 1/16 pixel before it decides which pixels a triangle covers, and clamps barycentrics to 0..1 in
  the sliver between the snapped and the true edge;
- it orders by z/w, which must grow with depth as our cameras make it, and of equal ones takes the last triangle;
- it damps the gradients of triangles of about a pixel or less;
- it draws triangles with a vertex that is not a number;
- its antialiasing sees only edges of the two triangles that meet between two pixels: where triangles are no larger than
  pixels it blends little and hardly moves an outline; it blends rows and columns at once (we one after the other) and
  so may leave the image's range where several edges meet at a pixel;
- it adds gradients, and blends, in no fixed order, and waits for the GPU in every call: a CUDA graph cannot capture it.
"""

from __future__ import annotations

from dataclasses import replace
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
        self._side_by_side = WeakTensorKeyDictionary()

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
        # As one mesh: given a batch, its gradient kernel adds up one edge's shares over pictures (0.4.0).
        faces, edges = self._all_pictures(faces, *clip.shape[:2])
        first = torch.arange(len(clip), dtype=torch.int32, device=clip.device)[:, None, None] * (
            len(faces) // len(clip)
        )
        apart = torch.where(fragments.triangle >= 0, fragments.triangle + first, -1)
        return self._ops.antialias(
            image.contiguous(),
            _seen(replace(fragments, triangle=apart)).detach(),
            clip.reshape(-1, 4),
            faces,
            topology_hash=edges,
        )

    def _all_pictures(self, faces: Int[Tensor, "F 3"], batch: int, n_vertices: int) -> tuple[Int[Tensor, "BF 3"], Any]:
        """Faces of a mesh that holds every picture's vertices one after the other, and nvdiffrast's table of edges."""
        if faces not in self._side_by_side:
            self._side_by_side[faces] = {}
        known = self._side_by_side[faces]
        if (batch, n_vertices) not in known:
            first = torch.arange(batch, dtype=torch.int32, device=faces.device)[:, None, None] * n_vertices
            every = (self._topology.int32(faces) + first).flatten(0, 1)
            known[batch, n_vertices] = every, self._ops.antialias_construct_topology_hash(every)
        return known[batch, n_vertices]


def _without_far_plane(clip: Float[Tensor, "B V 4"]) -> Float[Tensor, "B V 4"]:
    """The same positions with z halfway to -w: near stays at -w, and what lies beyond far comes in front of +w."""
    x, y, z, w = clip.unbind(-1)
    return torch.stack([x, y, 0.5 * (z - w), w], -1)


def _seen(fragments: Fragments) -> Float[Tensor, "B H W 4"]:
    """nvdiffrast's picture of what is seen: two barycentrics, something that grows with depth, triangle + 1."""
    return torch.cat(
        [fragments.barycentric[..., :2], fragments.depth[..., None], (fragments.triangle[..., None] + 1).float()], -1
    )
