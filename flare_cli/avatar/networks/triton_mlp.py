"""Small networks at very many points on a GPU: one Triton kernel each way; what is between layers stays on the chip."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDEST = 64  # the widest layer of which the gradients of all weights fit into a multiprocessor's registers
# Points per block and warps per program. Backward: the fastest of those tried on an H100, 0.30 ms for 312,000 points of
# 38 inputs against 0.47 with 64 and 4 (docs/experiments.md, "from 7.9 to 4.4 ms"). Forward: other numbers not logged.
FORWARD_BLOCK, FORWARD_WARPS = 128, 4
BACKWARD_BLOCK, BACKWARD_WARPS = 128, 8


def triton_mlp_supports(sizes: Sequence[int]) -> bool:
    """Whether a network of these widths, inputs and outputs included, has the shape that `triton_mlp` knows."""
    return len(sizes) == 4 and sizes[1] == sizes[2] and max(sizes) <= WIDEST


@functools.cache
def triton_trouble() -> str:
    """Why the Triton kernels can't be compiled here, or an empty string.

    Torch for CUDA brings Triton, except on Windows. Triton wants a C compiler and Python's headers when it first runs.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        importlib.import_module("triton.runtime").driver.active.get_current_target()
    except Exception as error:  # whatever its compiler, loader or driver raises
        return f"triton does not start: {error}".splitlines()[0]
    return ""


def triton_mlp(points: Float[Tensor, "P N"], layers: Sequence[nn.Linear], slope: float) -> Float[Tensor, "P M"]:
    """Three linear layers with leaky rectifiers (`slope` below 0) between them. Gradients to all but the slope."""
    return _TritonMlp.apply(points, slope, *(parameter for layer in layers for parameter in (layer.weight, layer.bias)))


class _TritonMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, slope: float, *parameters: Tensor) -> Tensor:
        columns = points.T.contiguous()  # encodings write their features like that already
        assert columns.numel() < 2**31, "the kernels count in 32 bits"
        out = points.new_empty(len(points), len(parameters[-1]))
        if blocks := -(-len(points) // FORWARD_BLOCK):
            _kernels().mlp[blocks,](
                columns,
                *parameters,
                out,
                len(points),
                **_constants(parameters, slope),
                block=FORWARD_BLOCK,
                num_warps=FORWARD_WARPS,
            )
        ctx.slope = slope
        ctx.save_for_backward(columns, *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        columns, *parameters = ctx.saved_tensors
        count = columns.shape[1]
        blocks = -(-count // BACKWARD_BLOCK)
        programs = min(blocks, _programs(columns.device))
        grad_columns = torch.empty_like(columns)
        partial_grads = columns.new_empty(programs, sum(parameter.numel() for parameter in parameters))
        if blocks:
            _kernels().mlp_backward[programs,](
                columns,
                *parameters[:-1],
                grad_outputs[0].contiguous(),
                grad_columns,
                partial_grads,
                count,
                blocks,
                **_constants(parameters, ctx.slope),
                block=BACKWARD_BLOCK,
                wants_grad_x=ctx.needs_input_grad[0],
                num_warps=BACKWARD_WARPS,
            )
        grads = partial_grads.sum(0).split([parameter.numel() for parameter in parameters])
        shaped = [grad.view_as(parameter) for grad, parameter in zip(grads, parameters, strict=True)]
        return grad_columns.T if ctx.needs_input_grad[0] else None, None, *shaped


def _kernels() -> Any:
    """The Triton kernels: a module that only imports where Triton is, and that no type checker understands."""
    from flare_cli.avatar.kernels import mlp

    return mlp


def _constants(parameters: Sequence[Tensor], slope: float) -> dict[str, Any]:
    """What the kernels are compiled for."""
    (width, inputs), outputs = parameters[0].shape, len(parameters[-1])
    sizes = {"inputs": inputs, "width": width, "outputs": outputs}
    padded = {f"padded_{name}": max(16, 1 << (size - 1).bit_length()) for name, size in sizes.items()}
    return {**sizes, **padded, "slope": slope, "half": parameters[0].is_cuda}


@functools.cache
def _programs(device: torch.device) -> int:
    """Programs of the gradient kernel: one fills a multiprocessor's registers."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3
