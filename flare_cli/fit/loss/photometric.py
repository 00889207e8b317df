"""How far drawn pictures are from recorded ones, pixel by pixel: in colour, and in what the head covers."""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.fit.kernels import photometric as kernels
from flare_cli.render.colour import linear_from_srgb, tone_mapped
from flare_cli.render.launch import Each, launch


def photometric_loss(
    image: Float[Tensor, "B H W 4"],
    target: UInt8[Tensor, "B H W 3"],
    mask: UInt8[Tensor, "B H W"],
    label: UInt8[Tensor, "B H W"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L1 of tone-mapped colours (both times the mask), and squared error of coverage: means over the pictures.

    `image` is linear radiance and coverage, `target` sRGB. The tone map is `colour.tone_mapped`. Pixels whose label is
    OCCLUDED have no error.
    """
    return _PhotometricLoss.apply(image, target, mask, label)


@functools.cache
def _decoded(device: torch.device) -> tuple[Float[Tensor, "256"], Float[Tensor, "256"]]:
    """Linear radiance of each byte, and its tone map."""
    radiance = linear_from_srgb(torch.arange(256) / 255).to(device)
    return radiance, tone_mapped(radiance)


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, mask: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        pixels = mask.numel()
        errors, grad = image.new_empty(2, pixels), image.new_empty(pixels, 4)
        launch(
            kernels.photometric_loss,
            pixels,
            image.device,
            [
                Each(image.contiguous().view(-1, 4), of_vectors=True),
                Each(target.reshape(-1, 3)),
                Each(mask.flatten()),
                Each(label.flatten()),
                *_decoded(image.device),
                Each(errors[0]),
                Each(errors[1]),
                Each(grad, of_vectors=True),
            ],
        )
        ctx.save_for_backward(grad.view_as(image))
        colour, coverage = (errors.sum(1) / pixels).unbind(0)
        return colour / 3, coverage.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        grad_colour, grad_mask = grad_outputs
        scale = torch.stack([grad_colour / 3] * 3 + [grad_mask]) / (grad.numel() // 4)
        return grad * scale, None, None, None
