"""A trainable multiresolution hash grid over the unit cube (Müller et al., Instant-NGP, 2022)."""

from __future__ import annotations

from typing import Any, final

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels.hash_grid import RUN, hash_grid_kernels
from flare_cli.render.launch import launch, vectors


@final
class HashGrid(nn.Module):
    """Features per point: `levels` grids from `base` to `finest` cells per side, trilinearly interpolated.

    A level has one table row per grid corner while they fit into 2**log2_entries rows, and shares rows by hash beyond.
    """

    resolutions: Tensor
    offsets: Tensor
    hashed: Tensor

    def __init__(
        self,
        *,
        levels: int = 16,
        features: int = 2,
        log2_entries: int = 19,
        base: int = 16,
        finest: int = 4096,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        growth = (finest / base) ** (1 / max(levels - 1, 1))
        # The small addend keeps an exact power from being rounded down by one cell.
        resolutions = torch.tensor([int(base * growth**level + 1e-6) for level in range(levels)])
        corners = (resolutions + 1) ** 3
        sizes = corners.clamp(max=2**log2_entries)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        self.register_buffer("resolutions", resolutions.int(), persistent=False)
        self.register_buffer("offsets", offsets.int(), persistent=False)
        self.register_buffer("hashed", (corners > sizes).int(), persistent=False)
        rows = torch.rand(int(offsets[-1]), features, generator=generator)
        self.table = nn.Parameter((2 * rows - 1) * 1e-4)

    @property
    def width(self) -> int:
        """Number of features per point, level by level."""
        return len(self.resolutions) * self.table.shape[1]

    def forward(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points. Points outside are extrapolated."""
        return _Encode.apply(points.contiguous(), self.table, self.resolutions, self.offsets, self.hashed)


def _rows(tensor: Tensor) -> wp.array:
    return wp.from_torch(tensor.detach(), dtype=wp.types.vector(length=tensor.shape[-1], dtype=wp.float32))


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, table: Tensor, resolutions: Tensor, offsets: Tensor, hashed: Tensor
    ) -> Tensor:
        levels, features = len(resolutions), table.shape[1]
        out = points.new_empty(levels, features, len(points))
        encode, _ = hash_grid_kernels(features)
        launch(
            encode,
            (levels, len(points)),
            points.device,
            [vectors(points), _rows(table), resolutions, offsets, hashed, out],
        )
        ctx.save_for_backward(points, table, resolutions, offsets, hashed)
        return out.flatten(0, 1).T

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, table, resolutions, offsets, hashed = ctx.saved_tensors
        levels, features = len(resolutions), table.shape[1]
        grad_out = grad_outputs[0].contiguous().view(len(points), levels, features)
        grad_table, grad_points = torch.zeros_like(table), torch.zeros_like(points)
        _, encode_backward = hash_grid_kernels(features)
        launch(
            encode_backward,
            (levels, -(-len(points) // RUN)),
            points.device,
            [
                vectors(points),
                _rows(table),
                resolutions,
                offsets,
                hashed,
                _rows(grad_out),
                _rows(grad_table),
                vectors(grad_points),
                ctx.needs_input_grad[0],
            ],
        )
        return grad_points, grad_table, None, None, None
