"""Shade surface points with a distant light: Lambert diffuse and GGX specular by the split-sum approximation.

GGX with alpha = roughness^2, height-correlated Smith masking and Schlick's Fresnel term, as glTF defines them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import shading as kernels
from flare_cli.render.launch import Each, launch, vectors
from flare_cli.render.light.samples import SummedLight, sum_light

# The table starts here: at 0 the integrands are singular and the lobes thinner than any quadrature.
MIN_N_DOT_V = 1e-3
MIN_ROUGHNESS = 0.02
LEAST_ESCAPE = (
    0.2  # of the light in a cavity, that is not reflected back into it: bounces add up to five times it at most
)


@runtime_checkable
class Light(Protocol):
    """Distant light, already integrated over the lobes that shading asks for."""

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Irradiance over pi at a unit normal: 1 in a white environment of radiance 1."""
        ...

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance averaged over the GGX lobe about a unit mirror direction."""
        ...


@dataclass(frozen=True, slots=True)
class Shaded:
    """Linear radiance toward the camera, and the light that made it.

    `diffuse` is before the material. `specular` is too where the light is already integrated over lobes; of a light
    that is summed it is what the surface reflects at specular intensity 1.
    """

    colour: Float[Tensor, "P 3"]
    diffuse: Float[Tensor, "P 3"]
    specular: Float[Tensor, "P 3"]


def shade(
    albedo: Float[Tensor, "P 3"],
    roughness: Float[Tensor, "P 1"],
    specular: Float[Tensor, "P 1"],
    normal: Float[Tensor, "P 3"],
    view: Float[Tensor, "P 3"],
    light: Light | SummedLight,
    f0: Float[Tensor, "P 1"] | float,
    visibility: Float[Tensor, "P 9"] | None = None,
) -> Shaded:
    """Colour = albedo * diffuse light + specular * specular light * (f0 * A + B), or this BRDF summed over directions.

    `normal` and `view` (from the surface to the camera) are unit, on one side of the surface, as
    `facing_normal_and_view` gives them. `specular` is the intensity 0..1, `f0` the reflectance at normal incidence.
    Gradients go to all of them and to the light. `visibility` (harmonics, `sum_light`) shadows light that is summed; it
    has no gradient. What it hides is taken to be of the same albedo and as brightly lit, and so on: light that bounces
    adds up to 1 / (1 - albedo * (1 - openness)) of what arrives (Jimenez et al. 2016 fit a curve to the same thought).
    """
    reflectance = f0 if isinstance(f0, Tensor) else torch.full_like(roughness, f0)
    if isinstance(light, SummedLight):
        samples = light.samples()
        diffuse_light, reflected, openness = sum_light(samples, normal, view, roughness, reflectance, visibility)
        bounced = diffuse_light / (1 - albedo * (1 - openness)).clamp(min=LEAST_ESCAPE)
        return Shaded(albedo * bounced + specular * reflected, diffuse_light, reflected)
    diffuse_light = light.diffuse(normal)
    specular_light = light.specular(mirrored(normal, view), roughness)
    colour = _Compose.apply(albedo, roughness, specular, reflectance, normal, view, diffuse_light, specular_light)
    return Shaded(colour, diffuse_light, specular_light)


def facing_normal_and_view(
    surface: Float[Tensor, "P 6"], centres: Float[Tensor, "B 3"], batch: Int[Tensor, " P"]
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Unit normals on the camera's side, and unit directions to the camera, of pixels in pictures `batch`.

    A normal that points away is mirrored at the plane across the view. `surface` is position and normal (of any
    length). Gradients go to it, not to the camera centres.
    """
    return _FacingNormalAndView.apply(surface, centres, batch)


def mirrored(normal: Float[Tensor, "P 3"], view: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """The unit direction whose light a mirror with this unit normal shows to this unit view."""
    return _Mirror.apply(normal, view)


class _FacingNormalAndView(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, surface: Tensor, centres: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        facing, view = (surface.new_empty(len(surface), 3) for _ in range(2))
        launch(
            kernels.facing_normal_and_view,
            len(surface),
            surface.device,
            [_each(surface[:, :3]), _each(surface[:, 3:]), vectors(centres), Each(batch), _each(facing), _each(view)],
        )
        ctx.save_for_backward(surface, centres, batch)
        return facing, view

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        surface, centres, batch = ctx.saved_tensors
        grad = torch.empty_like(surface)
        launch(
            kernels.facing_normal_and_view_backward,
            len(surface),
            surface.device,
            [
                _each(surface[:, :3]),
                _each(surface[:, 3:]),
                vectors(centres),
                Each(batch),
                *(_each(g) for g in grad_outputs),
                _each(grad[:, :3]),
                _each(grad[:, 3:]),
            ],
        )
        return grad, None, None


class _Mirror(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, normal: Tensor, view: Tensor) -> Tensor:
        out = torch.empty_like(normal)
        launch(kernels.mirror, len(out), out.device, [_each(normal), _each(view), _each(out)])
        ctx.save_for_backward(normal, view)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        normal, view = ctx.saved_tensors
        grads = torch.empty_like(normal), torch.empty_like(view)
        arguments = [_each(t) for t in (normal, view, *grad_outputs, *grads)]
        launch(kernels.mirror_backward, len(normal), normal.device, arguments)
        return grads


class _Compose(torch.autograd.Function):
    """Albedo, roughness, specular, f0, normal, view and both lights to a colour."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        out = inputs[0].new_empty(len(inputs[0]), 3)
        launch(kernels.compose, len(out), out.device, [*map(_each, inputs), *_brdf_arguments(out), _each(out)])
        ctx.save_for_backward(*inputs)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, ...]:
        inputs, (grad,) = ctx.saved_tensors, grad_outputs
        grads = tuple(torch.empty_like(value, memory_format=torch.contiguous_format) for value in inputs)
        arguments = [*map(_each, inputs), *_brdf_arguments(grad), _each(grad), *map(_each, grads)]
        launch(kernels.compose_backward, len(grad), grad.device, arguments)
        return grads


def _each(values: Float[Tensor, "P C"]) -> Each:
    """One vector, or where C is 1 one number, per pixel; rows may lie apart, their entries not."""
    if values.shape[1] == 1:
        return Each(values[:, 0])
    return Each(values if values.stride(1) == 1 else values.contiguous(), of_vectors=True)


def _brdf_arguments(like: Tensor) -> list[object]:
    return [vectors(_brdf_table(like.device)), MIN_N_DOT_V, MIN_ROUGHNESS]


@functools.cache
def _brdf_table(device: torch.device) -> Float[Tensor, "256 256 2"]:
    """A and B: a white environment reflects f0 * A + B. A row for each roughness, a column for each n.v.

    256 x 256 as published (docs/method.md, model 4).
    """
    n_dot_v = np.linspace(MIN_N_DOT_V, 1, 256, dtype=np.float32)
    rows = [integrate_brdf(n_dot_v, roughness) for roughness in np.linspace(MIN_ROUGHNESS, 1, 256)]
    return torch.from_numpy(np.stack(rows)).permute(0, 2, 1).float().contiguous().to(device)


def integrate_brdf(
    n_dot_v: Float[np.ndarray, " N"], roughness: float, rings: int = 24, spokes: int = 8
) -> Float[np.ndarray, "2 N"]:
    """A and B by quadrature over visible half vectors (Heitz 2018), where the integrand F * G2 / G1 is bounded.

    The disk of visible half vectors is symmetric, so half of it is enough. 24 rings of 8 points agree with a sum over
    the whole hemisphere to 0.004 (tests/render/light/test_shading.py).
    """
    alpha = np.float32(roughness**2)
    rim = 1 - (np.arange(rings, dtype=np.float32) + 0.5) / rings
    spoke = (np.arange(spokes, dtype=np.float32) + 0.5) / spokes * math.pi - math.pi / 2
    # Squared radius 1 - rim^3: the long tail of GGX lies at the rim of the disk.
    radius, angle = (grid.ravel() for grid in np.meshgrid(np.sqrt(1 - rim**3), spoke, indexing="ij"))
    share_of_disk = np.repeat(3 * rim**2 / (rings * spokes), spokes)
    cosine = n_dot_v[:, None]
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    # The view in the space where the lobe is a uniform hemisphere; the disk lies across it.
    stretch = 1 / np.sqrt((alpha * sine) ** 2 + cosine**2)
    vx, vz = alpha * sine * stretch, cosine * stretch
    across, upright = radius * np.cos(angle), radius * np.sin(angle)
    visible = 0.5 * (1 + vz)
    upright = (1 - visible) * np.sqrt(1 - across**2) + visible * upright
    outward = np.sqrt(np.maximum(1 - across**2 - upright**2, 0))
    hx, hy = alpha * (outward * vx - upright * vz), alpha * across
    hz = np.maximum(outward * vz + upright * vx, 0)
    length = np.sqrt(hx**2 + hy**2 + hz**2)
    v_dot_h = np.clip((hx * sine + hz * cosine) / length, 0, 1)
    n_dot_l = 2 * v_dot_h * hz / length - cosine
    masked_view, masked_light = _smith(cosine, alpha), _smith(np.maximum(n_dot_l, 1e-6), alpha)
    weight = np.where(n_dot_l > 0, (1 + masked_view) / (1 + masked_view + masked_light), 0)  # G2 / G1
    fresnel = (1 - v_dot_h) ** 5
    return np.stack([((1 - fresnel) * weight) @ share_of_disk, (fresnel * weight) @ share_of_disk])


def _smith(cosine: Float[np.ndarray, "N M"], alpha: np.float32) -> Float[np.ndarray, "N M"]:
    """Smith's Lambda for GGX."""
    return 0.5 * (np.sqrt(1 + alpha**2 * (1 - cosine**2) / cosine**2) - 1)
