"""Antialiased silhouettes for any rasterizer: find the edge between two pixels, blend by where it passes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.backend import Fragments
from flare_cli.render.kernels import antialias as kernels
from flare_cli.render.launch import Each, launch
from flare_cli.render.topology import Topology


def blend_silhouettes(
    image: Float[Tensor, "B H W C"],
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    fragments: Fragments,
    topology: Topology,
) -> Float[Tensor, "B H W C"]:
    """What `Rasterizer.antialias` asks for, by our own kernels, from the fragments of any rasterizer."""
    screen = _screen(pixel_space(clip, *fragments.triangle.shape[1:]))
    for axis in (0, 1):
        edges = _silhouettes(screen, topology.int32(faces), topology.twins(faces), fragments, axis)
        image = _Blend.apply(image.contiguous(), screen, topology.int32(faces), edges, axis)
    return image


def pixel_space(clip: Float[Tensor, "B V 4"], height: int, width: int) -> Float[Tensor, "B V 4"]:
    """(X, Y, w, d): pixel position times w, w, and distance to the near plane z = -w."""
    x, y, z, w = clip.unbind(-1)
    return torch.stack([(x + w) * (0.5 * width), (y + w) * (0.5 * height), w, z + w], -1)


def _screen(vertices: Float[Tensor, "B V 4"]) -> Float[Tensor, "B V 2"]:
    """Pixel positions; NaN for vertices that the near plane cuts."""
    visible = (vertices[..., 3:] >= 0) & (vertices[..., 2:3] > 0)
    w = torch.where(visible, vertices[..., 2:3], 1.0)
    return torch.where(visible, vertices[..., :2] / w, torch.nan)


def _silhouettes(
    screen: Float[Tensor, "B V 2"],
    faces: Int[Tensor, "F 3"],
    twins: Int[Tensor, "F 3"],
    fragments: Fragments,
    axis: int,
) -> Int[Tensor, "B H W"]:
    """The silhouette half-edge between each pixel and its neighbour along `axis`, or -1."""
    edges = torch.empty_like(fragments.triangle)
    launch(
        kernels.find_silhouettes,
        tuple(edges.shape),
        edges.device,
        [
            Each(screen, of_vectors=True),
            faces,
            twins,
            Each(fragments.triangle),
            Each(fragments.depth),
            axis,
            Each(edges),
        ],
    )
    return edges


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, screen: Tensor, faces: Tensor, edges: Tensor, axis: int) -> Tensor:
        out = image.clone()
        launch(
            kernels.blend,
            tuple(edges.shape),
            image.device,
            [Each(screen, of_vectors=True), faces, Each(edges), axis, Each(image), Each(out)],
        )
        ctx.save_for_backward(image, screen, faces, edges)
        ctx.axis = axis
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_out,) = grad_outputs
        image, screen, faces, edges = ctx.saved_tensors
        grad_image, grad_screen = grad_out.clone(memory_format=torch.contiguous_format), torch.zeros_like(screen)
        launch(
            kernels.blend_backward,
            tuple(edges.shape),
            image.device,
            [
                Each(screen, of_vectors=True),
                faces,
                Each(edges),
                ctx.axis,
                Each(image),
                Each(grad_out.contiguous()),
                Each(grad_image),
                Each(grad_screen, of_vectors=True),
            ],
        )
        return grad_image, grad_screen, None, None, None
