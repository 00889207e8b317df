"""Small networks at very many points on a CPU: block by block, so that what is between two layers stays in cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flare_cli.parallel.blocks import for_each_block

# Points. Fixed, so that sums over blocks are the same for any number of threads; blocks of 1,024 and 4,096 were no
# faster (docs/experiments.md, "Two CPU cores").
BLOCK = 2048

leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


@runtime_checkable
class Activation(Protocol):
    """An increasing function whose slope can be told from its value. Both methods work in place."""

    def forward(self, values: Float[Tensor, "P N"]) -> None:
        """Apply it."""
        ...

    def backward(self, grad: Float[Tensor, "P N"], values: Float[Tensor, "P N"]) -> None:
        """Multiply `grad` by the slope where the function has these `values`."""
        ...


@final
@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """Identity above 0, `slope` times that below."""

    slope: float

    def forward(self, values: Float[Tensor, "P N"]) -> None:
        """Apply it."""
        torch.nn.functional.leaky_relu_(values, self.slope)

    def backward(self, grad: Float[Tensor, "P N"], values: Float[Tensor, "P N"]) -> None:
        """Multiply `grad` by the slope where the function has these `values`."""
        leaky_relu_backward(grad, values, self.slope, True, grad_input=grad)


@final
@dataclass(frozen=True, slots=True)
class Softplus:
    """log(1 + exp(beta x)) / beta, to the precision of a number about 1: 0 where that is below 1e-7 / beta.

    Computed exactly, most values and gradients of a steep softplus would be denormal numbers, and a CPU takes twenty
    times as long over those (docs/experiments.md, "Two CPU cores").
    """

    beta: float

    def forward(self, values: Float[Tensor, "P N"]) -> None:
        """Apply it."""
        # exp(-30) is 1e-13, far below what a sum with 1 can hold, and far from denormal.
        tail = values.abs().mul_(-self.beta).clamp_(min=-30).exp_().add_(1).log_().div_(self.beta)
        values.clamp_(min=0).add_(tail)

    def backward(self, grad: Float[Tensor, "P N"], values: Float[Tensor, "P N"]) -> None:
        """Multiply `grad` by the slope where the function has these `values`."""
        grad.mul_((values * -self.beta).exp_().neg_().add_(1))


def cpu_mlp(
    points: Float[Tensor, "P N"], layers: Sequence[nn.Linear], activation: Activation, *, last: bool = False
) -> Float[Tensor, "P M"]:
    """Linear layers with this activation between them, and behind the `last` if asked."""
    return _CpuMlp.apply(
        points, activation, last, *(layer.weight for layer in layers), *(layer.bias for layer in layers)
    )


class _CpuMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, activation: Activation, last: bool, *parameters: Tensor) -> Tensor:
        layers = len(parameters) // 2
        weights, biases = [p.detach() for p in parameters[:layers]], [p.detach() for p in parameters[layers:]]
        points = points.detach()
        values = [points.new_empty(len(points), len(bias)) for bias in biases]

        def forward_block(block: int) -> None:
            rows = _rows(block)
            outputs = points[rows]
            for i in range(layers):
                outputs = torch.mm(outputs, weights[i].T, out=values[i][rows]).add_(biases[i])
                if i < layers - 1 or last:
                    activation.forward(outputs)

        for_each_block(forward_block, _block_count(points))
        ctx.activation, ctx.last = activation, last
        ctx.save_for_backward(points, *weights, *values)
        return values[-1]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, *saved = ctx.saved_tensors
        layers = len(saved) // 2
        weights, values = saved[:layers], [points, *saved[layers:]]
        (grad_out,) = grad_outputs
        blocks = _block_count(points)
        # Column by column, because that is how encodings write their features and read the gradients.
        grad_columns = torch.empty(points.shape[::-1]) if ctx.needs_input_grad[0] else None
        grad_weights = [weight.new_empty(blocks, *weight.shape) for weight in weights]
        grad_biases = [weight.new_empty(blocks, len(weight)) for weight in weights]

        def backward_block(block: int) -> None:
            rows = _rows(block)
            grad = grad_out[rows].clone() if ctx.last else grad_out[rows]
            for i in reversed(range(layers)):
                if i < layers - 1 or ctx.last:
                    ctx.activation.backward(grad, values[i + 1][rows])
                torch.mm(grad.T, values[i][rows], out=grad_weights[i][block])
                torch.sum(grad, 0, out=grad_biases[i][block])
                if i > 0:
                    grad = grad @ weights[i]
                elif grad_columns is not None:
                    grad_columns[:, rows] = torch.mm(grad, weights[0]).T

        for_each_block(backward_block, blocks)
        grad_points = None if grad_columns is None else grad_columns.T
        return grad_points, None, None, *(g.sum(0) for g in grad_weights), *(g.sum(0) for g in grad_biases)


def _block_count(points: Tensor) -> int:
    return -(-len(points) // BLOCK)


def _rows(block: int) -> slice:
    return slice(block * BLOCK, (block + 1) * BLOCK)
