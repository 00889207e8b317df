"""Small networks evaluated at very many points: materials and light."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flare_cli.avatar.networks.cpu_mlp import LeakyRelu, cpu_mlp
from flare_cli.avatar.networks.triton_mlp import triton_mlp, triton_mlp_supports, triton_trouble

# A GPU spends most of a float32 layer on moving its activations; bfloat16 halves them and uses the matrix units: 2.1 ms
# of a 12 ms step, for at most 0.06 dB (docs/experiments.md, "from 60 ms to 9 ms").
GPU_DTYPE = torch.bfloat16
# Slope of the rectifiers below 0. With 0 the light's few units can all die in the first, large steps, and the light
# stays one constant for the rest of the fit (docs/experiments.md, "Light that stays alive, and white"). No other slope
# was tried.
SLOPE = 0.1
FOLD = 256  # rows side by side; from 0.97 to 0.60 ms in all sums of a step, other numbers not tried (the same place)


def layered(sizes: Sequence[int], start: Float[Tensor, "M"]) -> nn.Sequential:
    """Linear layers of these sizes with leaky rectifiers between them. At first the output is close to `start`."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    last = layers[-2]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=0.01)
    last.bias.data.copy_(start)
    return nn.Sequential(*layers[:-1])


def evaluate(network: nn.Sequential, points: Float[Tensor, "P N"]) -> Float[Tensor, "P M"]:
    """The network's values in float32; on a GPU its products have bfloat16 factors (docs/experiments.md: the quality).

    `network` is one of `layered`. On a GPU one with two hidden layers of at most 64 units runs as one kernel.
    """
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    if points.device.type != "cuda":
        return cpu_mlp(points, layers, LeakyRelu(SLOPE))
    if triton_mlp_supports([layers[0].in_features, *(layer.out_features for layer in layers)]) and not triton_trouble():
        return triton_mlp(points, layers, SLOPE)
    values = points.to(GPU_DTYPE)
    for i, layer in enumerate(layers, 1):
        values = dense(values, layer.weight.to(GPU_DTYPE), layer.bias.to(GPU_DTYPE), i < len(layers))
    return values.float()


def dense(
    points: Float[Tensor, "P N"], weight: Float[Tensor, "M N"], bias: Float[Tensor, "M"], rectify: bool
) -> Float[Tensor, "P M"]:
    """A linear layer, and a rectifier if asked, with a gradient made for many points."""
    return _Dense.apply(points, weight, bias, rectify)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, weight: Tensor, bias: Tensor, rectify: bool) -> Tensor:
        out = torch.addmm(bias, points, weight.T)
        if rectify:
            out = nn.functional.leaky_relu_(out, SLOPE)
        ctx.rectify = rectify
        ctx.save_for_backward(points, weight, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        points, weight, out = ctx.saved_tensors
        grad = grad_outputs[0]
        if ctx.rectify:
            grad = torch.ops.aten.leaky_relu_backward(grad, out, SLOPE, True)
        grad_points = grad @ weight if ctx.needs_input_grad[0] else None
        return grad_points, grad.T @ points, _column_sums(grad), None


def _column_sums(values: Float[Tensor, "P M"]) -> Float[Tensor, "M"]:
    """Sums over the points. A sum of 64 columns leaves a GPU idle: many rows side by side make many columns."""
    (rows, columns), dtype = values.shape, values.dtype
    if rows % FOLD == 0 and values.is_contiguous():
        values = values.view(rows // FOLD, FOLD * columns).sum(0, dtype=torch.float32).view(FOLD, columns)
    return values.sum(0).to(dtype)
