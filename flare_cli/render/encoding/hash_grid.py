"""The multiresolution hash grid on NVIDIA Warp, on CPU and CUDA from one source."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.encoding.grid_table import GridTable
from flare_cli.render.kernels.hash_grid import hash_grid_kernels
from flare_cli.render.launch import Each, launch, vectors

# Points of a thread, forward and backward. A GPU's threads read neighbouring points side by side; where they add, one
# that sums up a few points first adds less often. On a CPU runs of 8 took the lookup from 35 to 24 ns a point
# (docs/experiments.md, "Two CPU cores"); on an H100 runs of 4 are the fastest backward ("Silhouettes where they are").
_CPU_RUNS, _GPU_RUNS = (8, 8), (1, 4)


@final
class HashGrid(GridTable):
    """Features per point, trilinearly interpolated on each level, by Warp kernels on CPU and CUDA."""

    capturable = True

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
        length, _ = _GPU_RUNS if points.is_cuda else _CPU_RUNS
        grid = (points, table, resolutions, offsets, sizes, hashed)
        _over_levels(encode, grid, length, [Each(out)])
        ctx.save_for_backward(*grid)
        return out.flatten(0, 1).T

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, table, resolutions, *_ = grid = ctx.saved_tensors
        levels, features = len(resolutions), table.shape[1]
        grad_out = grad_outputs[0].T.contiguous().view(levels, features, len(points))
        grad_table = torch.zeros_like(table)
        wants_points = ctx.needs_input_grad[0]
        # A slice for each level, summed afterwards: no thread waits for another to add.
        point_grads_by_level = points.new_empty(levels, len(points) if wants_points else 0, 3)
        _, encode_backward = hash_grid_kernels(features)
        _, length = _GPU_RUNS if points.is_cuda else _CPU_RUNS
        # Levels share no rows of the table either.
        gradients = [Each(grad_out), vectors(grad_table), Each(point_grads_by_level, of_vectors=True)]
        _over_levels(encode_backward, grid, length, [*gradients, wants_points])
        return point_grads_by_level.sum(0) if wants_points else None, grad_table, None, None, None, None


def _over_levels(kernel: Any, grid: tuple[Tensor, ...], length: int, extra: list[object]) -> None:
    """Run a kernel over runs of `length` points on every level of a grid; `extra` are its own further arguments."""
    points, table, resolutions, offsets, sizes, hashed = grid
    levels = [Each(resolutions), Each(offsets[:-1]), Each(sizes), Each(hashed)]
    runs = (len(resolutions), -(-len(points) // length))
    launch(kernel, runs, points.device, [vectors(points), vectors(table), *levels, length, *extra])
