"""Integrated directional encoding (Verbin et al., Ref-NeRF, 2022): spherical harmonics blurred by roughness."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import directional as kernels
from flare_cli.render.launch import Each, launch

ENCODING_WIDTH = 2 * kernels.HALF  # 38: real and imaginary parts of orders 0..degree of each degree


def directional_encoding(direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P width"]:
    """Harmonics of a unit direction, the 19 real parts then the 19 imaginary ones, faded as a lobe about it would.

    A von Mises-Fisher lobe of concentration k multiplies degree l by about exp(-l (l + 1) / (2 k)). We take 1/k to be
    the roughness: at 1 only a hint of degree 4 and nothing of degree 8 is left, at 0 nothing is blurred.
    """
    return _Encode.apply(direction.contiguous(), roughness.reshape(-1).contiguous())


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, direction: Tensor, roughness: Tensor) -> Tensor:
        out = direction.new_empty(ENCODING_WIDTH, len(direction))
        launch(
            kernels.encode,
            len(direction),
            out.device,
            [Each(direction, of_vectors=True), Each(roughness), Each(out, axis=1)],
        )
        ctx.save_for_backward(direction, roughness)
        return out.T

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        direction, roughness = ctx.saved_tensors
        grad_direction, grad_roughness = torch.empty_like(direction), torch.empty_like(roughness)
        launch(
            kernels.encode_backward,
            len(direction),
            direction.device,
            [
                Each(direction, of_vectors=True),
                Each(roughness),
                Each(grad_outputs[0].T.contiguous(), axis=1),
                Each(grad_direction, of_vectors=True),
                Each(grad_roughness),
            ],
        )
        return grad_direction, grad_roughness
