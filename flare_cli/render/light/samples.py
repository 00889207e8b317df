"""A distant light as radiance from a set of directions that shading sums: matte and glossy light are of one whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from flare_cli.render.kernels import summed_light as kernels
from flare_cli.render.launch import Each, launch, vectors
from flare_cli.render.light.environment import shrunk, solid_angles
from flare_cli.render.light.sphere import even_directions, harmonics

MIN_N_DOT_V = 1e-3  # views that graze more are shaded as this: at 0 the lobe is 0 / 0
MOST_ROWS = 256  # of a map that is reduced to directions: 0.7 degrees, a hundredth of a cell
# Directions that light is looked up at in one go by `LightSamples.diffuse` and `specular`: 16 MB at 256 samples.
CHUNK = 1 << 14


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LightSamples:
    """K unit directions (world) with the mean radiance of the part of the sphere that each stands for.

    `spread` is the mean square angle (radians^2) of that part's light about its direction: solid angle / 2 pi for an
    evenly lit disc, next to 0 for a lamp. Shading widens GGX's lobe by it, so that the sum shows the lobe and not the
    directions (docs/decisions/0011-explicit-light.md), and a lamp still has a sharp highlight. `basis` are the
    directions' harmonics.
    """

    direction: Float[Tensor, "K 3"]
    solid_angle: Float[Tensor, "K 1"]
    spread: Float[Tensor, " K"]
    basis: Float[Tensor, "K 9"]
    radiance: Float[Tensor, "K 3"]

    def samples(self) -> LightSamples:
        """Itself: a `SummedLight`."""
        return self

    def to(self, device: torch.device | str) -> LightSamples:
        """The same light on `device`."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def flux(self) -> Float[Tensor, "K 3"]:
        """Radiance times solid angle: the irradiance of a surface that faces each direction."""
        return self.radiance * self.solid_angle

    def scale(self, exposure: float) -> LightSamples:
        """The same light `exposure` times as bright."""
        return replace(self, radiance=self.radiance * exposure)

    def rotate(self, yaw: float) -> LightSamples:
        """The same light turned by `yaw` radians about +y (counter-clockwise seen from above)."""
        cosine, sine = math.cos(yaw), math.sin(yaw)
        return self.turned(self.direction.new_tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]))

    def turned(self, rotation: Float[Tensor, "3 3"]) -> LightSamples:
        """The same light after it is turned."""
        direction = self.direction @ rotation.T
        return replace(self, direction=direction, basis=harmonics(direction))

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Irradiance over pi at a unit normal, nothing in the way."""
        flux = self.flux() / math.pi
        return torch.cat([(part @ self.direction.T).clamp(min=0) @ flux for part in normal.split(CHUNK)])

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance averaged over the GGX lobe about a mirror direction, normal and view there too, as split sums do."""
        flux, parts = self.flux(), zip(direction.split(CHUNK), roughness.split(CHUNK), strict=True)
        return torch.cat([self._mean_over_lobe(flux, mirror, rough) for mirror, rough in parts])

    def _mean_over_lobe(self, flux: Tensor, mirror: Tensor, roughness: Tensor) -> Tensor:
        cosine = mirror @ self.direction.T
        alpha2 = roughness**4 + self.spread / (2 + 2 * cosine).clamp(min=1e-4).sqrt()
        weight = cosine.clamp(min=0) * alpha2 / (0.5 * (1 + cosine) * (alpha2 - 1) + 1).square()
        return weight @ flux / (weight @ self.solid_angle)

    def to_map(self, height: int) -> Float[Tensor, "H W 3"]:
        """As an equirectangular picture (docs/conventions.md) of `height` rows, blended between directions."""
        looking = map_directions(height).to(self.direction)
        concentration = 2 / self.spread.clamp(min=1e-6)  # of the von Mises-Fisher lobe with this mean square angle
        rows = [
            torch.softmax(concentration * (row @ self.direction.T - 1) + self.solid_angle[:, 0].log(), -1)
            @ self.radiance
            for row in looking
        ]
        return torch.stack(rows)


@runtime_checkable
class SummedLight(Protocol):
    """A light that is shaded by the sum over its directions."""

    def samples(self) -> LightSamples:
        """Its directions and their radiance, with gradients to what they are made of."""
        ...


def even_samples(n: int) -> LightSamples:
    """White light of radiance 1 from `n` directions, each for an equal part of the sphere."""
    direction = even_directions(n)
    solid_angle = torch.full((n, 1), 4 * math.pi / n)
    return LightSamples(
        direction=direction,
        solid_angle=solid_angle,
        spread=solid_angle[:, 0] / (2 * math.pi),
        basis=harmonics(direction),
        radiance=torch.ones(n, 3),
    )


def sample_environment(envmap: Float[Tensor, "H W 3"], n: int) -> LightSamples:
    """A linear equirectangular map as `n` directions: the sphere in even cells, each with all the light of its texels.

    A cell's direction is the mean of its texels', weighted by their light: a lamp smaller than a cell keeps its place.
    Made on the CPU, in float64, of at most `MOST_ROWS` rows.
    """
    picture = torch.from_numpy(shrunk(envmap.detach().cpu().numpy(), MOST_ROWS)).double().flatten(0, 1)
    height = round(math.sqrt(len(picture) / 2))
    looking = map_directions(height).double().flatten(0, 1)
    solid_angle = torch.from_numpy(solid_angles(height)).repeat_interleave(2 * height)[:, None]
    centres = even_directions(n).double()
    cell = torch.cat([(part @ centres.T).argmax(1) for part in looking.split(CHUNK)])

    def summed(values: Float[Tensor, "T C"]) -> Float[Tensor, "n C"]:
        return values.new_zeros(n, values.shape[1]).index_add_(0, cell, values)

    flux, cell_size = summed(picture * solid_angle), summed(solid_angle)
    # A cell without light keeps its place; so does one that is smaller than a texel.
    power = (picture.mean(1, keepdim=True) + 1e-9 * picture.mean() + 1e-30) * solid_angle
    towards = summed(looking * power) / summed(power).clamp(min=1e-300)
    length = towards.norm(dim=1, keepdim=True)
    direction = torch.where(length > 0, towards / length.clamp(min=1e-9), centres)
    return LightSamples(
        direction=direction.float(),
        solid_angle=cell_size.float(),
        spread=(2 - 2 * length[:, 0]).clamp(min=0).float(),
        basis=harmonics(direction.float()),
        radiance=(flux / cell_size.clamp(min=1e-9)).float(),
    )


def map_directions(height: int) -> Float[Tensor, "H W 3"]:
    """Unit directions of the texel centres of an equirectangular map (docs/conventions.md)."""
    theta = (torch.arange(height) + 0.5)[:, None] / height * math.pi
    phi = ((torch.arange(2 * height) + 0.5)[None] / (2 * height) - 0.5) * 2 * math.pi
    sine = theta.sin()
    return torch.stack([sine * phi.sin(), theta.cos().expand(-1, 2 * height), -sine * phi.cos()], -1)


def sum_light(
    samples: LightSamples,
    normal: Float[Tensor, "P 3"],
    view: Float[Tensor, "P 3"],
    roughness: Float[Tensor, "P 1"],
    f0: Float[Tensor, "P 1"],
    visibility: Float[Tensor, "P 9"] | None = None,
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"], Float[Tensor, "P 1"]]:
    """Irradiance over pi; radiance that the surface reflects toward `view` at specular intensity 1; openness.

    Openness is the part of even light that arrives at a matte surface, without gradients.

    `normal` and `view` are unit, on one side of the surface. `visibility` are harmonics; a smooth step of them, from 0
    to 1, multiplies each direction's light. Gradients go to all but visibility, directions and spreads.
    """
    shadows = normal.new_zeros(1, 9) if visibility is None else visibility.detach().contiguous()
    return _SumLight.apply(samples.flux(), normal, view, roughness, f0, shadows, visibility is not None, samples)


class _SumLight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        flux, *surface, visibility, is_shadowed, samples = inputs
        surface = [values.contiguous() for values in surface]
        diffuse, reflected, openness = (torch.empty_like(surface[i]) for i in (0, 0, 2))
        shadows = [_each(visibility) if is_shadowed else vectors(visibility), is_shadowed]
        arguments = [*map(_each, surface), *shadows, *_light_arguments(samples, flux)]
        arguments += map(_each, (diffuse, reflected, openness))
        launch(kernels.sum_light, len(diffuse), flux.device, arguments)
        ctx.save_for_backward(flux, *surface, visibility)
        ctx.is_shadowed, ctx.samples = is_shadowed, samples
        ctx.mark_non_differentiable(openness)
        return diffuse, reflected, openness

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        flux, *surface, visibility = ctx.saved_tensors
        grads = [grad.contiguous() for grad in grad_outputs[:2]]
        light = _light_arguments(ctx.samples, flux)
        surface_grads = [torch.empty_like(values) for values in surface]
        shadows = [_each(visibility) if ctx.is_shadowed else vectors(visibility), ctx.is_shadowed]
        arguments = [*map(_each, surface), *shadows, *light, *map(_each, (*grads, *surface_grads))]
        launch(kernels.sum_light_backward, len(surface[0]), flux.device, arguments)
        grad_flux = None
        if ctx.needs_input_grad[0]:
            grad_flux = _flux_gradient(flux, surface, [vectors(visibility), ctx.is_shadowed], light, grads)
        return grad_flux, *surface_grads, None, None, None


def _flux_gradient(
    flux: Tensor, surface: list[Tensor], shadows: list[object], light: list[object], grads: list[Tensor]
) -> Float[Tensor, "K 3"]:
    first = torch.arange(0, len(surface[0]), kernels.CHUNK, dtype=torch.int32, device=flux.device)
    parts = flux.new_empty(len(first), len(flux), 3)
    if len(first):
        arguments = [*map(_shared, surface), *shadows, *light, *map(_shared, grads), _each(parts)]
        launch(kernels.sum_light_backward_to_flux, parts.shape[:2], flux.device, [Each(first), *arguments])
    return parts.sum(0)


def _light_arguments(samples: LightSamples, flux: Tensor) -> list[object]:
    return [vectors(samples.direction), vectors(flux), samples.spread, vectors(samples.basis), MIN_N_DOT_V]


def _each(values: Tensor) -> Each:
    """One vector a pixel, or where vectors have one entry, a number."""
    return Each(values[:, 0]) if values.shape[-1] == 1 else Each(values, of_vectors=True)


def _shared(values: Float[Tensor, "P C"]) -> object:
    """The same, all of it for every thread."""
    return values[:, 0] if values.shape[-1] == 1 else vectors(values)
