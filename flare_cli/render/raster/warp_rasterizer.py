"""The Warp rasterizer: rasterize, interpolate and antialias as torch functions, on CPU and CUDA from one source."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import raster as raster_kernels
from flare_cli.render.launch import Each, Total, launch, vectors
from flare_cli.render.raster.face_tables import int32_faces
from flare_cli.render.raster.fragments import Fragments, Pixels

# Threads that share the rows of one triangle: a GPU must not wait for the thread with the largest triangle. Not tuned.
_GPU_STRANDS = 8
# Threads that share a row of pixels: a processor takes twice as long to find out a thread's place as for its pixel.
# Enough of them that cores share small pictures, too (`LEAST_THREADS` of a launch).
_CPU_STRANDS = 16


@final
class WarpRasterizer:
    """Rasterizer on NVIDIA Warp."""

    name = "warp"
    capturable = True

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre; equal depths go to the lowest triangle."""
        vertices = _ToPixels.apply(clip.contiguous(), height, width)
        triangle, barycentric, depth = _Rasterize.apply(vertices, int32_faces(faces), height, width)
        return Fragments(triangle, barycentric, depth)

    def interpolate(
        self,
        attributes: Float[Tensor, "A V C"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
        pixels: Pixels,
    ) -> Float[Tensor, "P C"]:
        """Vertex attributes at `pixels`; gradients to attributes and barycentrics. `A` is B, or 1 for all pictures."""
        return _Interpolate.apply(
            attributes.contiguous(), fragments.barycentric, int32_faces(faces), fragments.triangle, pixels
        )


class _ToPixels(torch.autograd.Function):
    """Clip positions to (X, Y, w, d): pixel position times w, w, and distance to the near plane z = -w."""

    @staticmethod
    def forward(ctx: Any, clip: Tensor, height: int, width: int) -> Tensor:
        vertices = torch.empty_like(clip)
        ctx.halves = (0.5 * width, 0.5 * height)
        arguments = [Each(clip, of_vectors=True), *ctx.halves, Each(vertices, of_vectors=True)]
        launch(raster_kernels.to_pixels, tuple(clip.shape[:2]), clip.device, arguments)
        return vertices

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad_vertices = grad_outputs[0].contiguous()
        grad = torch.empty_like(grad_vertices)
        arguments = [Each(grad_vertices, of_vectors=True), *ctx.halves, Each(grad, of_vectors=True)]
        launch(raster_kernels.to_pixels_backward, tuple(grad.shape[:2]), grad.device, arguments)
        return grad, None, None


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vertices: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape, device = (vertices.shape[0], height, width), vertices.device
        keys = torch.full(shape, raster_kernels.EMPTY_KEY, dtype=torch.int64, device=device)
        triangle = torch.empty(shape, dtype=torch.int32, device=device)
        barycentric, depth = vertices.new_empty(*shape, 3), vertices.new_empty(shape)
        points = Each(vertices, of_vectors=True)
        strands = _GPU_STRANDS if device.type == "cuda" else 1
        launch(raster_kernels.nearest, (shape[0], len(faces), strands), device, [points, faces, Each(keys), strands])
        outputs = [Each(triangle), Each(barycentric, of_vectors=True), Each(depth)]
        strands = width if device.type == "cuda" else _CPU_STRANDS
        launch(raster_kernels.resolve, (*shape[:2], strands), device, [points, faces, Each(keys), *outputs, strands])
        ctx.save_for_backward(vertices, faces, triangle)
        ctx.mark_non_differentiable(triangle)
        return triangle, barycentric, depth

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        _, grad_barycentric, grad_depth = grad_outputs
        vertices, faces, triangle = ctx.saved_tensors
        grad = torch.zeros_like(vertices)
        launch(
            raster_kernels.resolve_backward,
            tuple(triangle.shape),
            vertices.device,
            [
                Each(vertices, of_vectors=True),
                faces,
                Each(triangle),
                Each(grad_barycentric.contiguous(), of_vectors=True),
                Each(grad_depth.contiguous()),
                Each(grad, of_vectors=True),
            ],
        )
        return grad, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, attributes: Tensor, barycentric: Tensor, faces: Tensor, triangle: Tensor, pixels: Pixels
    ) -> Tensor:
        out = attributes.new_empty(len(pixels.index), attributes.shape[2])
        launch(
            raster_kernels.interpolate,
            len(out),
            out.device,
            [
                attributes,
                faces,
                triangle.flatten(),
                vectors(barycentric.view(-1, 3)),
                Each(pixels.index),
                Each(pixels.batch),
                Each(out),
            ],
        )
        ctx.save_for_backward(attributes, barycentric, faces, triangle, pixels.index, pixels.batch)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_out,) = grad_outputs
        attributes, barycentric, faces, triangle, index, batch = ctx.saved_tensors
        wants_attributes = ctx.needs_input_grad[0]
        grad_attributes = torch.zeros_like(attributes) if wants_attributes else attributes.new_empty(0, 0, 0)
        grad_barycentric = torch.zeros_like(barycentric)
        launch(
            raster_kernels.interpolate_backward,
            len(index),
            index.device,
            [
                attributes,
                faces,
                triangle.flatten(),
                vectors(barycentric.view(-1, 3)),
                Each(index),
                Each(batch),
                Each(grad_out.contiguous()),
                Total(grad_attributes),
                vectors(grad_barycentric.view(-1, 3)),
                wants_attributes,
            ],
        )
        return grad_attributes if wants_attributes else None, grad_barycentric, None, None, None
