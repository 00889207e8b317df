"""The multiresolution hash grid of tiny-cuda-nn (BSD-3), on NVIDIA GPUs.

It keeps the contract of `Encoding` (features over the unit cube, gradients to table and points, float32), not the bits:
- its grids are shifted by half a cell, and level i of n has (base + 1) ((finest + 1) / (base + 1))^(i / (n - 1)) - 1
  cells per side: the first and the last level have those of `HashGrid`, the others about as many, maybe not whole;
- the table is one flat parameter with its own row order and padding, so an avatar fitted with it opens with it only;
- points outside the unit cube read unrelated rows instead of being extrapolated;
- features come in 1, 2, 4 or 8 per level;
- gradients are added in no fixed order, and its memory is its own: a CUDA graph must not capture it.

It is asked for float32 tables. Its 16-bit mode is faster, but rounds features to 11 bits, which the contract forbids.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.errors import BackendError
from flare_cli.render.encoding.grid_table import INITIAL_RANGE, GridShape
from flare_cli.render.optional import TINYCUDANN, require_cuda


@final
class TinyCudaHashGrid(nn.Module):
    """Features per point by `tinycudann.Encoding`. Its only parameter is `grid.params`."""

    capturable = False

    def __init__(self, shape: GridShape, generator: torch.Generator | None, device: torch.device) -> None:
        super().__init__()
        require_cuda(
            "tinycudann", device, 'use run.hash_grid = "auto" to fit; an avatar fitted with it opens on GPUs only'
        )
        if shape.features not in (1, 2, 4, 8):
            raise BackendError(
                f"tinycudann has no grid of {shape.features} features per level", hint="use 1, 2, 4 or 8, or warp"
            )
        tinycudann = TINYCUDANN.load()
        self.width = shape.width
        with torch.cuda.device(device):
            self.grid: nn.Module = tinycudann.Encoding(3, _settings(shape), dtype=torch.float32)
        parameters = self.grid.get_parameter("params")
        with torch.no_grad():
            rows = torch.rand(parameters.shape, generator=generator)
            parameters.copy_((2 * rows - 1) * INITIAL_RANGE)
        self.to(device)

    def forward(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points."""
        # One point more: of an empty batch it would drop the gradient.
        padded = points if len(points) else points.new_zeros(1, 3)
        return self.grid(padded)[: len(points)].float()


def _settings(shape: GridShape) -> dict[str, object]:
    """The grid of `shape` in tiny-cuda-nn's terms, where a resolution R means R - 1 cells."""
    growth = math.exp(math.log((shape.finest + 1) / (shape.base + 1)) / max(shape.levels - 1, 1))
    return {
        "otype": "HashGrid",
        "n_levels": shape.levels,
        "n_features_per_level": shape.features,
        "log2_hashmap_size": shape.log2_entries,
        "base_resolution": shape.base + 1,
        "per_level_scale": growth,
    }
