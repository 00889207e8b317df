"""Antialiased silhouettes for any rasterizer: find the edge between two pixels, blend by where it passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.backend import Fragments
from flare_cli.render.kernels import antialias as kernels
from flare_cli.render.launch import Each, launch
from flare_cli.render.topology import Topology

# Threads that share the silhouettes of one picture; at 512 x 512 a head has some thousand.
_GPU_STRANDS = 16384


def blend_silhouettes(
    image: Float[Tensor, "B H W C"],
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    fragments: Fragments,
    topology: Topology,
) -> Float[Tensor, "B H W C"]:
    """What `Rasterizer.antialias` asks for, by our own kernels, from the fragments of any rasterizer."""
    screen = _ToScreen.apply(clip.contiguous(), *fragments.triangle.shape[1:])
    silhouettes = _silhouettes(screen, topology.int32(faces), topology.twins(faces), fragments)
    return _Blend.apply(image.contiguous(), screen, topology.int32(faces), *silhouettes)


def _silhouettes(
    screen: Float[Tensor, "B V 2"], faces: Int[Tensor, "F 3"], twins: Int[Tensor, "F 3"], fragments: Fragments
) -> tuple[Int[Tensor, "B pairs"], Int[Tensor, "B"], Int[Tensor, "B pairs"]]:
    """The silhouette half-edge of every pair of neighbours, or -1; how many have one in each picture, and which."""
    triangle, width = fragments.triangle.flatten(1), fragments.triangle.shape[2]
    pairs = (len(triangle), 2 * triangle.shape[1])
    edges, listed = triangle.new_empty(pairs), triangle.new_empty(pairs)
    counts = triangle.new_zeros(len(triangle))
    found = [Each(edges), Each(counts), Each(listed)]
    seen = [Each(triangle), Each(fragments.depth.flatten(1)), width]
    launch(kernels.find_silhouettes, pairs, edges.device, [Each(screen, of_vectors=True), faces, twins, *seen, *found])
    return edges, counts, listed


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
    def forward(
        ctx: Any, image: Tensor, screen: Tensor, faces: Tensor, edges: Tensor, counts: Tensor, listed: Tensor
    ) -> Tensor:
        out = image.clone()
        _over_silhouettes(kernels.blend, screen, faces, (edges, counts, listed), [Each(image), Each(out)])
        ctx.save_for_backward(image, screen, faces, edges, counts, listed)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_out,) = grad_outputs
        image, screen, faces, *silhouettes = ctx.saved_tensors
        grad_image, grad_screen = grad_out.clone(memory_format=torch.contiguous_format), torch.zeros_like(screen)
        gradients = [Each(grad_out.contiguous()), Each(grad_image), Each(grad_screen, of_vectors=True)]
        _over_silhouettes(kernels.blend_backward, screen, faces, silhouettes, [Each(image), *gradients])
        return grad_image, grad_screen, None, None, None, None


def _over_silhouettes(
    kernel: Any, screen: Tensor, faces: Tensor, silhouettes: Sequence[Tensor], pictures: Sequence[Each]
) -> None:
    """Run a kernel over the listed pairs; how many there are, only the device knows."""
    strands = _GPU_STRANDS if screen.is_cuda else 1
    found = [Each(part) for part in silhouettes]
    arguments = [Each(screen, of_vectors=True), faces, *found, strands, *pictures]
    launch(kernel, (len(screen), strands), screen.device, arguments)
