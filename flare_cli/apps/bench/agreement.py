"""How far the rasterizers agree with Warp's on the same surface: what they see, and the gradients they give."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.raster.antialias import antialias
from flare_cli.render.raster.fragments import Fragments, foreground, scatter
from flare_cli.render.raster.interface import Rasterizer


@dataclass(frozen=True, slots=True)
class Agreement:
    """Differences from Warp. Fractions are of all pixels; gradients differ by the norm, relative to Warp's."""

    name: str
    triangle: float
    covered: float
    barycentric: float
    depth: float
    interpolated: float
    antialiased: float
    antialiased_mean: float
    surface_gradient: float
    silhouette_gradient: float

    def rows(self) -> list[tuple[str, float]]:
        """What differs, in words, and by how much."""
        return [(_WORDS[f.name], getattr(self, f.name)) for f in fields(self) if f.name != "name"]


_WORDS = {
    "triangle": "pixels that show another triangle, fraction",
    "covered": "pixels covered by one of the two only, fraction",
    "barycentric": "barycentrics where the triangle is the same, largest difference",
    "depth": "depth where both see something, largest relative difference",
    "interpolated": "interpolated position, mean difference in metres",
    "antialiased": "antialiased coverage, largest difference",
    "antialiased_mean": "antialiased coverage, mean difference",
    "surface_gradient": "gradient through interpolation to the vertices, relative",
    "silhouette_gradient": "gradient through antialiasing to the vertices, relative",
}


@dataclass(frozen=True, slots=True)
class _Drawn:
    fragments: Fragments
    position: Float[Tensor, "B H W 3"]
    cover: Float[Tensor, "B H W 1"]
    by_surface: Float[Tensor, "B V 4"]
    by_silhouette: Float[Tensor, "B V 4"]


def agreements(
    rasterizers: dict[str, Rasterizer],
    clip: Float[Tensor, "B V 4"],
    attributes: Float[Tensor, "B V C"],
    faces: Int[Tensor, "F 3"],
    size: int,
) -> list[Agreement]:
    """Every rasterizer but Warp against Warp. The first three attributes are positions."""
    drawn = {name: _draw(one, clip, attributes, faces, size) for name, one in rasterizers.items()}
    return [_compare(name, one, drawn["warp"]) for name, one in drawn.items() if name != "warp"]


def _draw(
    rasterizer: Rasterizer,
    clip: Float[Tensor, "B V 4"],
    attributes: Float[Tensor, "B V C"],
    faces: Int[Tensor, "F 3"],
    size: int,
) -> _Drawn:
    leaf = clip.clone().requires_grad_()
    fragments = rasterizer.rasterize(leaf, faces, size, size)
    pixels = foreground(fragments)
    values = rasterizer.interpolate(attributes[..., :3].contiguous(), faces, fragments, pixels)
    shape = (len(clip), size, size)
    position = scatter(values, pixels, shape, 0.0)
    (by_surface,) = torch.autograd.grad((values * 50).sin().sum(), leaf, retain_graph=True)
    seen = (fragments.triangle >= 0).float()[..., None]
    cover = antialias(seen, leaf, faces, fragments)
    ramp = torch.linspace(-1, 1, size, device=clip.device)[:, None]
    (by_silhouette,) = torch.autograd.grad((cover * ramp).square().sum(), leaf)
    return _Drawn(fragments, position.detach(), cover.detach(), by_surface, by_silhouette)


def _compare(name: str, ours: _Drawn, warp: _Drawn) -> Agreement:
    same = (ours.fragments.triangle == warp.fragments.triangle) & (warp.fragments.triangle >= 0)
    both = (ours.fragments.triangle >= 0) & (warp.fragments.triangle >= 0)
    either = (ours.fragments.triangle >= 0) | (warp.fragments.triangle >= 0)
    cover = (ours.cover - warp.cover).abs()
    depth = (ours.fragments.depth / warp.fragments.depth.clamp(min=1e-6) - 1).abs()
    return Agreement(
        name=name,
        triangle=_number((ours.fragments.triangle != warp.fragments.triangle).float().mean()),
        covered=_number((either & ~both).float().mean()),
        barycentric=_number((ours.fragments.barycentric - warp.fragments.barycentric).abs()[same].max()),
        depth=_number(depth[both].max()),
        interpolated=_number((ours.position - warp.position).norm(dim=-1)[both].mean()),
        antialiased=_number(cover.max()),
        antialiased_mean=_number(cover.mean()),
        surface_gradient=_number((ours.by_surface - warp.by_surface).norm() / warp.by_surface.norm()),
        silhouette_gradient=_number((ours.by_silhouette - warp.by_silhouette).norm() / warp.by_silhouette.norm()),
    )


def _number(value: Float[Tensor, ""]) -> float:
    return float(value.detach())
