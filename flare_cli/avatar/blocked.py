"""Small networks at very many points on a CPU: block by block, so that what is between two layers stays in cache."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.workers import for_each_block

BLOCK = 2048  # points; fixed, so that sums over blocks are the same for any number of threads

leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


def blocked(
    points: Float[Tensor, "P N"], weights: list[Tensor], biases: list[Tensor], slope: float
) -> Float[Tensor, "P M"]:
    """Linear layers with leaky rectifiers (`slope` below 0) between them."""
    return _Blocked.apply(points, slope, *weights, *biases)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, slope: float, *parameters: Tensor) -> Tensor:
        layers = len(parameters) // 2
        weights, biases = [p.detach() for p in parameters[:layers]], [p.detach() for p in parameters[layers:]]
        points = points.detach()
        values = [points.new_empty(len(points), len(bias)) for bias in biases]

        def work(block: int) -> None:
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            here = points[part]
            for i in range(layers):
                here = torch.mm(here, weights[i].T, out=values[i][part]).add_(biases[i])
                if i < layers - 1:
                    torch.nn.functional.leaky_relu_(here, slope)

        for_each_block(work, _blocks(points))
        ctx.slope = slope
        ctx.save_for_backward(points, *weights, *values[:-1])
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, *rest = ctx.saved_tensors
        layers = (len(rest) + 1) // 2
        weights, inputs = rest[:layers], [points, *rest[layers:]]
        (grad_out,) = grad_outputs
        blocks = _blocks(points)
        grad_points = torch.empty(points.shape) if ctx.needs_input_grad[0] else None
        grad_weights = [weight.new_empty(blocks, *weight.shape) for weight in weights]
        grad_biases = [weight.new_empty(blocks, len(weight)) for weight in weights]

        def work(block: int) -> None:
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            grad = grad_out[part]
            for i in reversed(range(layers)):
                torch.mm(grad.T, inputs[i][part], out=grad_weights[i][block])
                torch.sum(grad, 0, out=grad_biases[i][block])
                if i > 0:
                    grad = grad @ weights[i]
                    leaky_relu_backward(grad, inputs[i][part], ctx.slope, True, grad_input=grad)
                elif grad_points is not None:
                    torch.mm(grad, weights[0], out=grad_points[part])

        for_each_block(work, blocks)
        return grad_points, None, *(g.sum(0) for g in grad_weights), *(g.sum(0) for g in grad_biases)


def _blocks(points: Tensor) -> int:
    return -(-len(points) // BLOCK)
