"""What a rasterizer must do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.raster.fragments import Fragments, Pixels


@runtime_checkable
class Rasterizer(Protocol):
    """Triangles to pixels, differentiably. Clip space, fill rule and near plane: docs/conventions.md."""

    @property
    def name(self) -> str:
        """What `flare doctor` calls it."""
        ...

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph may capture its calls; where not, a fit runs its steps one by one."""
        ...

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre; equal depths go to the lowest triangle."""
        ...

    def interpolate(
        self,
        attributes: Float[Tensor, "A V C"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
        pixels: Pixels,
    ) -> Float[Tensor, "P C"]:
        """Vertex attributes at `pixels`; gradients to attributes and barycentrics. `A` is B, or 1 for all pictures.

        `faces` may index other vertices than the rasterized ones (texture coordinates), in the same face order.
        """
        ...
