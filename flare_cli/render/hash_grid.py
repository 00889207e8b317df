"""A trainable multiresolution hash grid over the unit cube (Müller et al., Instant-NGP, 2022)."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels.hash_grid import RUN, hash_grid_kernels
from flare_cli.render.launch import Each, Total, launch, vectors


@final
class HashGrid(nn.Module):
    """Features per point: `levels` grids from `base` to `finest` cells per side, trilinearly interpolated.

    A level has one table row per grid corner while they fit into 2**log2_entries rows, and shares rows by hash beyond.
    """

    resolutions: Tensor
    offsets: Tensor
    sizes: Tensor
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
        self.register_buffer("sizes", sizes.int(), persistent=False)
        self.register_buffer("hashed", (corners > sizes).int(), persistent=False)
        rows = torch.rand(int(offsets[-1]), features, generator=generator)
        self.table = nn.Parameter((2 * rows - 1) * 1e-4)

    @property
    def width(self) -> int:
        """Number of features per point, level by level."""
        return len(self.resolutions) * self.table.shape[1]

    def forward(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points. Points outside are extrapolated."""
        return _Encode.apply(points.contiguous(), self.table, self.resolutions, self.offsets, self.sizes, self.hashed)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, table: Tensor, resolutions: Tensor, offsets: Tensor, sizes: Tensor, hashed: Tensor
    ) -> Tensor:
        levels, features = len(resolutions), table.shape[1]
        out = points.new_empty(levels, features, len(points))
        encode, _ = hash_grid_kernels(features)
        launch(
            encode,
            (levels, len(points)),
            points.device,
            [Each(points, of_vectors=True), vectors(table), resolutions, offsets, sizes, hashed, Each(out, axis=2)],
            split=1,
        )
        ctx.save_for_backward(points, table, resolutions, offsets, sizes, hashed)
        return out.flatten(0, 1).T

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, table, resolutions, offsets, sizes, hashed = ctx.saved_tensors
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
                vectors(table),
                Each(resolutions),
                Each(offsets[:-1]),
                Each(sizes),
                Each(hashed),
                Each(grad_out, axis=1, of_vectors=True),
                vectors(grad_table),  # each level has its own rows
                Total(grad_points, of_vectors=True),
                ctx.needs_input_grad[0],
            ],
        )
        return grad_points, grad_table, None, None, None, None
