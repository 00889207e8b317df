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
    screen = _ToScreen.apply(clip.contiguous(), *fragments.triangle.shape[1:])
    edges = _silhouettes(screen, topology.int32(faces), topology.twins(faces), fragments)
    return _Blend.apply(image.contiguous(), screen, topology.int32(faces), edges)


def _silhouettes(
    screen: Float[Tensor, "B V 2"], faces: Int[Tensor, "F 3"], twins: Int[Tensor, "F 3"], fragments: Fragments
) -> Int[Tensor, "B 2 H W"]:
    """The silhouette half-edge between each pixel and its neighbour to the right and below, or -1."""
    B, H, W = fragments.triangle.shape
    edges = fragments.triangle.new_empty(B, 2, H, W)
    arguments = [
        Each(screen, of_vectors=True),
        faces,
        twins,
        Each(fragments.triangle),
        Each(fragments.depth),
        Each(edges),
    ]
    launch(kernels.find_silhouettes, (B, 2, H, W), edges.device, arguments)
    return edges


class _ToScreen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: Tensor, height: int, width: int) -> Tensor:
        screen = clip.new_empty(*clip.shape[:2], 2)
        ctx.halves = (0.5 * width, 0.5 * height)
        arguments = [Each(clip, of_vectors=True), *ctx.halves, Each(screen, of_vectors=True)]
        launch(kernels.to_screen, tuple(clip.shape[:2]), clip.device, arguments)
        ctx.save_for_backward(clip)
        return screen

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (clip,) = ctx.saved_tensors
        grad = torch.empty_like(clip)
        ends = (Each(grad_outputs[0].contiguous(), of_vectors=True), Each(grad, of_vectors=True))
        arguments = [Each(clip, of_vectors=True), *ctx.halves, *ends]
        launch(kernels.to_screen_backward, tuple(clip.shape[:2]), clip.device, arguments)
        return grad, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, screen: Tensor, faces: Tensor, edges: Tensor) -> Tensor:
        out = torch.empty_like(image)
        arguments = [Each(screen, of_vectors=True), faces, Each(edges), Each(image), Each(out)]
        launch(kernels.blend, tuple(image.shape[:3]), image.device, arguments)
        ctx.save_for_backward(image, screen, faces, edges)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        image, screen, faces, edges = ctx.saved_tensors
        grad_image, grad_screen = torch.empty_like(image), torch.zeros_like(screen)
        given = [Each(screen, of_vectors=True), faces, Each(edges), Each(image), Each(grad_outputs[0].contiguous())]
        arguments = [*given, Each(grad_image), Each(grad_screen, of_vectors=True)]
        launch(kernels.blend_backward, tuple(image.shape[:3]), image.device, arguments)
        return grad_image, grad_screen, None, None
