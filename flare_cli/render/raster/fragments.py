"""What pixels see, and values that go between lists of pixels and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import pixels as kernels
from flare_cli.render.launch import Each, launch


@dataclass(frozen=True, slots=True)
class Fragments:
    """What each pixel of `B` pictures sees.

    `triangle` is -1 where a pixel sees nothing; there the rest is 0. `barycentric` (perspective-correct, sums to one)
    and `depth` (clip w, camera depth) carry gradients to the clip positions; the choice of triangle carries none.
    """

    triangle: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels worth shading: `index` is flat into B*H*W and ascending, `batch` the picture each belongs to.

    A list of fixed capacity ends in padding: index B*H*W, batch 0. `n_covered` is then how many pixels see a triangle:
    if that is more than the capacity, the last of them are not listed. It is None where the list is as long as needed.
    """

    index: Int[Tensor, " P"]
    batch: Int[Tensor, " P"]
    n_covered: Int[Tensor, ""] | None = None

    def mean(self, values: Float[Tensor, "P C"]) -> Float[Tensor, ""]:
        """Mean over the pixels (not the padding) and channels."""
        if self.n_covered is None:
            return values.mean()
        is_listed = torch.arange(len(self.index), device=values.device) < self.n_covered
        n_listed = self.n_covered.clamp(max=len(self.index))
        return torch.where(is_listed[:, None], values, 0.0).sum() / (n_listed * values.shape[1])


def no_fragments(clip: Float[Tensor, "B V 4"], height: int, width: int) -> Fragments:
    """What is seen of no triangles."""
    shape = (len(clip), height, width)
    triangle = torch.full(shape, -1, dtype=torch.int32, device=clip.device)
    return Fragments(triangle, clip.new_zeros(*shape, 3), clip.new_zeros(shape))


def foreground(fragments: Fragments, capacity: int | None = None) -> Pixels:
    """The pixels that see a triangle. With a capacity the list has that length, and nothing waits for the GPU."""
    triangle = fragments.triangle.flatten()
    covered = triangle >= 0
    height, width = fragments.triangle.shape[1:]
    if capacity is None:
        index = torch.nonzero(covered)[:, 0]
        return Pixels(index, torch.div(index, height * width, rounding_mode="floor"))
    rank = covered.cumsum(0, dtype=torch.int32)
    index = torch.full((capacity,), len(covered), device=covered.device)
    batch = torch.zeros_like(index)
    launch(kernels.list_pixels, len(covered), covered.device, [triangle, rank, height * width, index, batch])
    return Pixels(index, batch, rank[-1])


def scatter(
    values: Float[Tensor, "P C"],
    pixels: Pixels,
    shape: tuple[int, int, int],
    background: Float[Tensor, "*shape"] | float,
) -> Float[Tensor, "B H W C"]:
    """Write `values` into pictures of `shape` (B, H, W) over `background` (a number, a colour or pictures)."""
    channels = values.shape[1]
    if isinstance(background, Tensor):
        canvas = background.to(values.dtype).expand(*shape, channels).reshape(-1, channels)
    else:
        canvas = values.new_full((shape[0] * shape[1] * shape[2], channels), background)
    return _Scatter.apply(values.contiguous(), canvas, pixels.index).view(*shape, channels)


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, canvas: Tensor, index: Tensor) -> Tensor:
        out = canvas.clone()
        launch(kernels.scatter, tuple(values.shape), out.device, [Each(values), Each(index), out])
        ctx.save_for_backward(index)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        grad = grad_outputs[0].contiguous()
        grad_values = grad.new_empty(len(index), grad.shape[1])
        launch(kernels.gather, tuple(grad_values.shape), grad.device, [grad, Each(index), Each(grad_values)])
        grad_canvas = None
        if ctx.needs_input_grad[1]:
            grad_canvas = grad.clone()
            launch(
                kernels.scatter,
                tuple(grad_values.shape),
                grad.device,
                [torch.zeros_like(grad_values), index, grad_canvas],
            )
        return grad_values, grad_canvas, None
