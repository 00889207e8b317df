"""Small networks evaluated at very many points: materials and light."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flare_cli.avatar.blocked import blocked

# A GPU spends most of a float32 layer on moving its activations; bfloat16 halves them and uses the matrix units.
GPU_DTYPE = torch.bfloat16
# Slope of the rectifiers below 0. With 0 the light's few units can all die in the first, large steps, and the light
# stays one constant for the rest of the fit (seen on a real recording).
SLOPE = 0.1
FOLD = 256
# Of the fused kernels: their widest layer; points per block and warps per program, by measurement on an H100.
FUSED_WIDTH = 64
FORWARD_BLOCK, FORWARD_WARPS = 128, 8
BACKWARD_BLOCK, BACKWARD_WARPS = 64, 4


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
        return blocked(points, [layer.weight for layer in layers], [layer.bias for layer in layers], SLOPE)
    if fusible([layers[0].in_features, *(layer.out_features for layer in layers)]) and has_triton():
        return fused(points, *(parameter for layer in layers for parameter in (layer.weight, layer.bias)))
    values = points.to(GPU_DTYPE)
    for i, layer in enumerate(layers, 1):
        values = dense(values, layer.weight.to(GPU_DTYPE), layer.bias.to(GPU_DTYPE), i < len(layers))
    return values.float()


def fusible(sizes: Sequence[int]) -> bool:
    """Whether a network of these widths, inputs and outputs included, has the shape that `fused` knows."""
    return len(sizes) == 4 and sizes[1] == sizes[2] and max(sizes) <= FUSED_WIDTH


@functools.cache
def has_triton() -> bool:
    """Whether the compiler of the fused kernels is here (torch brings it where it has CUDA, except on Windows)."""
    return importlib.util.find_spec("triton") is not None


def fused(points: Float[Tensor, "P N"], *parameters: Tensor) -> Float[Tensor, "P M"]:
    """A network of two hidden layers in one kernel; nothing between the layers goes through memory.

    `parameters` are weight and bias of its three layers. Gradients to them and to the points.
    """
    return _Fused.apply(points, *parameters)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, *parameters: Tensor) -> Tensor:
        columns = points.T.contiguous()  # how encodings lay their features
        out = points.new_empty(len(points), len(parameters[-1]))
        _kernels().network[-(-len(points) // FORWARD_BLOCK),](
            columns,
            *parameters,
            out,
            len(points),
            **_constants(parameters),
            block=FORWARD_BLOCK,
            num_warps=FORWARD_WARPS,
        )
        ctx.save_for_backward(columns, *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        columns, *parameters = ctx.saved_tensors
        inputs, count = columns.shape
        blocks = -(-count // BACKWARD_BLOCK)
        programs = min(blocks, _programs(columns.device))
        grad_points = columns.new_empty(count, inputs)
        shares = columns.new_empty(programs, sum(parameter.numel() for parameter in parameters))
        _kernels().network_backward[programs,](
            columns,
            *parameters[:-1],
            grad_outputs[0].contiguous(),
            grad_points,
            shares,
            count,
            blocks,
            **_constants(parameters),
            block=BACKWARD_BLOCK,
            wants_grad_x=ctx.needs_input_grad[0],
            num_warps=BACKWARD_WARPS,
        )
        grads = shares.sum(0).split([parameter.numel() for parameter in parameters])
        shaped = [grad.view_as(parameter) for grad, parameter in zip(grads, parameters, strict=True)]
        return grad_points if ctx.needs_input_grad[0] else None, *shaped


def _kernels() -> Any:
    """The Triton kernels: a module that only imports where Triton is, and that no type checker understands."""
    from flare_cli.avatar.kernels import network

    return network


def _constants(parameters: Sequence[Tensor]) -> dict[str, Any]:
    """What the kernels are compiled for."""
    (width, inputs), outputs = parameters[0].shape, len(parameters[-1])
    sizes = {"inputs": inputs, "width": width, "outputs": outputs}
    padded = {f"padded_{name}": max(16, 1 << (size - 1).bit_length()) for name, size in sizes.items()}
    return {**sizes, **padded, "slope": SLOPE, "half": parameters[0].is_cuda}


@functools.cache
def _programs(device: torch.device) -> int:
    """Programs that keep the gradient kernel's GPU busy: two per multiprocessor."""
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3


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
    """Sums over the points. Many rows laid side by side keep a GPU busy, where 64 columns would not."""
    (rows, columns), dtype = values.shape, values.dtype
    if rows % FOLD == 0 and values.is_contiguous():
        values = values.view(rows // FOLD, FOLD * columns).sum(0, dtype=torch.float32).view(FOLD, columns)
    return values.sum(0).to(dtype)
