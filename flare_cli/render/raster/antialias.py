"""Antialiased silhouettes for any rasterizer: find the edge between two pixels, blend by where it passes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import antialias as kernels
from flare_cli.render.launch import Each, launch
from flare_cli.render.raster.face_tables import int32_faces, twins_of
from flare_cli.render.raster.fragments import Fragments

# Threads that go through one picture's list of seams, or of outlines, on a GPU. A launch needs their number, and the
# length of the lists is only known on the device. 65,536 against 16,384 made the walks 6 to 14 us faster on fine meshes
# (docs/experiments.md, "Silhouettes where they are"); for outlines nothing else was tried.
_SEAM_STRANDS, _OUTLINE_STRANDS = 65536, 16384


def antialias(
    image: Float[Tensor, "B H W C"],
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    fragments: Fragments,
) -> Float[Tensor, "B H W C"]:
    """Blend across silhouettes by where the edge passes between pixels; gradients to image and clip.

    The result stays within the range of the image. This is the only gradient that moves a silhouette. After nvdiffrast
    (Laine et al. 2020, section 3.5), but from the fragments of any rasterizer, and along the whole outline.
    """
    triangles = int32_faces(faces)
    screen = _ToScreen.apply(clip.contiguous(), *fragments.triangle.shape[1:])
    leans, counts, pairs, edges = _silhouettes(screen, triangles, twins_of(faces), fragments)
    return _Blend.apply(image.contiguous(), screen, triangles, leans, counts, pairs, edges)


def _silhouettes(
    screen: Float[Tensor, "B V 2"], faces: Int[Tensor, "F 3"], twins: Int[Tensor, "F 3"], fragments: Fragments
) -> tuple[Float[Tensor, "B N"], Int[Tensor, "B"], Int[Tensor, "B N"], Int[Tensor, "B N"]]:
    """Where outlines pass between neighbouring pixels.

    The leans of all N = 2 H W pairs (0 without outline); in each picture the number of pairs with an outline, these
    pairs, and their half-edges.
    """
    triangle, width = fragments.triangle.flatten(1), fragments.triangle.shape[2]
    B, pixels = triangle.shape
    strands = _SEAM_STRANDS if screen.is_cuda else 1
    leans = screen.new_empty(B, 2 * pixels)
    seam_counts, counts = triangle.new_zeros(2, B)
    seams, pairs, edges = triangle.new_empty(3, B, 2 * pixels)
    seam_lists = [Each(seam_counts), Each(seams)]
    launch(kernels.list_seams, (B, pixels), screen.device, [twins, Each(triangle), width, Each(leans), *seam_lists])
    visible = [Each(triangle), Each(fragments.depth.flatten(1)), width]
    outlines = [Each(leans), Each(counts), Each(pairs), Each(edges)]
    launch(
        kernels.find_silhouettes,
        (B, strands),
        screen.device,
        [Each(screen, of_vectors=True), faces, twins, *visible, *seam_lists, strands, *outlines],
    )
    return leans, counts, pairs, edges


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
        grads = (Each(grad_outputs[0].contiguous(), of_vectors=True), Each(grad, of_vectors=True))
        arguments = [Each(clip, of_vectors=True), *ctx.halves, *grads]
        launch(kernels.to_screen_backward, tuple(clip.shape[:2]), clip.device, arguments)
        return grad, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        screen: Tensor,
        faces: Tensor,
        leans: Tensor,
        counts: Tensor,
        pairs: Tensor,
        edges: Tensor,
    ) -> Tensor:
        out, strands = image.clone(), _OUTLINE_STRANDS if image.is_cuda else 1
        arguments = [Each(leans), Each(counts), Each(pairs), strands, Each(image), Each(out)]
        launch(kernels.blend, (len(image), strands), image.device, arguments)
        ctx.save_for_backward(image, screen, faces, leans, counts, pairs, edges)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_out,) = grad_outputs
        image, screen, faces, leans, counts, pairs, edges = ctx.saved_tensors
        grad_image, grad_screen = grad_out.clone(memory_format=torch.contiguous_format), torch.zeros_like(screen)
        strands = _OUTLINE_STRANDS if image.is_cuda else 1
        outlines = [Each(leans), Each(counts), Each(pairs), strands, Each(screen, of_vectors=True), faces, Each(edges)]
        pictures = [Each(image), Each(grad_out.contiguous()), Each(grad_image), Each(grad_screen, of_vectors=True)]
        launch(kernels.blend_backward, (len(image), strands), image.device, [*outlines, *pictures])
        return grad_image, grad_screen, None, None, None, None, None
