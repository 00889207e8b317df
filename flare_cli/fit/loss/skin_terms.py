"""The loss terms on skin: even albedo, and roughness and specular intensity as skin has them."""

from __future__ import annotations

import functools
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.avatar.material import Material
from flare_cli.data.celebamask import BARE_SKIN
from flare_cli.fit.kernels import skin_terms as kernels
from flare_cli.render.launch import Each, launch, vectors
from flare_cli.render.raster.fragments import Pixels

# Mean and standard deviation on skin, as published (docs/method.md). What is within two deviations costs nothing.
ROUGHNESS = (0.5, 0.1)
SPECULAR = (0.3753, 0.1655)
USUAL = (ROUGHNESS[0], 2 * ROUGHNESS[1], SPECULAR[0], 2 * SPECULAR[1])


def skin_terms(
    material: Material, pixels: Pixels, labels: UInt8[Tensor, "B H W"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Means over the pixels labelled as bare skin, 0 where there are none.

    Skin is taken from the labels because the mesh's own skin also lies under a collar. First comes the L1 distance of
    albedo to its mean over the skin: what light can explain should not be painted on. It is a sparse prior (as Barron
    and Malik's parsimony, SIRFS 2015): moles and lips may differ, smooth shading may not. Then, for roughness and for
    specular intensity, how far they are beyond two standard deviations from what skin has.
    """
    terms = _Skin.apply(material.albedo, material.roughness, material.specular, pixels.index, labels.flatten())
    even, roughness, specular = terms.unbind(0)
    return even, roughness, specular


@functools.cache
def label_table(labels: tuple[int, ...], device: torch.device) -> Float[Tensor, "256"]:
    """1 at each of the labels, 0 at all others."""
    table = torch.zeros(256)
    table[list(labels)] = 1
    return table.to(device)


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, albedo: Tensor, roughness: Tensor, specular: Tensor, index: Tensor, labels: Tensor) -> Tensor:
        count, device = len(albedo), albedo.device
        tallied, distances = albedo.new_empty(count, 4), albedo.new_empty(6, count)
        launch(
            kernels.tally,
            count,
            device,
            [Each(index), labels, label_table(BARE_SKIN, device), _each(albedo), Each(tallied, of_vectors=True)],
        )
        total = tallied.sum(0, keepdim=True)
        values = [_each(albedo), Each(roughness[:, 0]), Each(specular[:, 0])]
        launch(
            kernels.distances,
            count,
            device,
            [Each(tallied, of_vectors=True), vectors(total), *values, wp.vec4(*USUAL), Each(distances, axis=1)],
        )
        sums = distances.sum(1)
        ctx.save_for_backward(albedo, roughness, specular, tallied, total, sums)
        even, roughness_off, specular_off = (sums[:3] / total[0, 3].clamp(min=1)).unbind(0)
        return torch.stack([even / 3, roughness_off, specular_off])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        albedo, roughness, specular, tallied, total, sums = ctx.saved_tensors
        count = len(albedo)
        grads = albedo.new_empty(count, 3), albedo.new_empty(count, 1), albedo.new_empty(count, 1)
        launch(
            kernels.distances_backward,
            count,
            albedo.device,
            [
                Each(tallied, of_vectors=True),
                vectors(total),
                sums,
                _each(albedo),
                Each(roughness[:, 0]),
                Each(specular[:, 0]),
                wp.vec4(*USUAL),
                grad_outputs[0].contiguous(),
                _each(grads[0]),
                Each(grads[1][:, 0]),
                Each(grads[2][:, 0]),
            ],
        )
        return *grads, None, None


def _each(values: Float[Tensor, "P 3"]) -> Each:
    return Each(values, of_vectors=True)
