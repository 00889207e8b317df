"""Shade surface points with a distant light: Lambert diffuse and GGX specular by the split-sum approximation.

GGX with alpha = roughness^2, height-correlated Smith masking and Schlick's Fresnel term, as glTF defines them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# The table starts here: at 0 the integrands are singular and the lobes thinner than any quadrature.
MIN_N_DOT_V = 1e-3
MIN_ROUGHNESS = 0.02


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
    """Linear radiance toward the camera, and the light that made it (before the material)."""

    colour: Float[Tensor, "P 3"]
    diffuse: Float[Tensor, "P 3"]
    specular: Float[Tensor, "P 3"]


def shade(
    albedo: Float[Tensor, "P 3"],
    roughness: Float[Tensor, "P 1"],
    specular: Float[Tensor, "P 1"],
    normal: Float[Tensor, "P 3"],
    view: Float[Tensor, "P 3"],
    light: Light,
    f0: Float[Tensor, "P 1"] | float,
) -> Shaded:
    """Colour = albedo * diffuse light + specular * specular light * (f0 * A + B).

    `normal` and `view` (from the surface to the camera) are unit; see `facing` for normals that look away. `specular`
    is the intensity 0..1, `f0` the reflectance at normal incidence.
    """
    n_dot_v = (normal * view).sum(-1, keepdim=True)
    mirror = torch.nn.functional.normalize(2 * n_dot_v * normal - view, dim=-1)
    diffuse_light = light.diffuse(normal)
    specular_light = light.specular(mirror, roughness)
    scale, bias = brdf_scale_and_bias(n_dot_v, roughness)
    colour = albedo * diffuse_light + specular * specular_light * (f0 * scale + bias)
    return Shaded(colour, diffuse_light, specular_light)


def facing(normal: Float[Tensor, "P 3"], view: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """Normals turned to the camera's side of the surface."""
    return torch.where((normal * view).sum(-1, keepdim=True) < 0, -normal, normal)


def brdf_scale_and_bias(
    n_dot_v: Float[Tensor, "P 1"], roughness: Float[Tensor, "P 1"]
) -> tuple[Float[Tensor, "P 1"], Float[Tensor, "P 1"]]:
    """A and B: a white environment reflects f0 * A + B. Looked up in a table; gradients to both arguments."""
    table = _brdf_table(n_dot_v.device)
    x = (n_dot_v - MIN_N_DOT_V) / (1 - MIN_N_DOT_V) * 2 - 1
    y = (roughness - MIN_ROUGHNESS) / (1 - MIN_ROUGHNESS) * 2 - 1
    grid = torch.cat([x, y], -1)[None, None]
    found = torch.nn.functional.grid_sample(table, grid, padding_mode="border", align_corners=True)[0, :, 0]
    return found[0, :, None], found[1, :, None]


@functools.cache
def _brdf_table(device: torch.device) -> Float[Tensor, "1 2 256 256"]:
    n_dot_v = np.linspace(MIN_N_DOT_V, 1, 256, dtype=np.float32)
    rows = [integrate_brdf(n_dot_v, roughness) for roughness in np.linspace(MIN_ROUGHNESS, 1, 256)]
    return torch.from_numpy(np.stack(rows, 1))[None].float().to(device)


def integrate_brdf(
    n_dot_v: Float[np.ndarray, " N"], roughness: float, rings: int = 24, spokes: int = 8
) -> Float[np.ndarray, "2 N"]:
    """A and B by quadrature over visible half vectors (Heitz 2018), where the integrand F * G2 / G1 is bounded.

    The disk of visible half vectors is symmetric, so half of it is enough.
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
