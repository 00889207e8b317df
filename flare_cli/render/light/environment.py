"""Light from an equirectangular HDR picture, prefiltered for diffuse and GGX specular shading."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.render.camera import Cameras

# Half as fine as the published relighting, whose cubes have 512 texels along a side (docs/method.md). What that costs
# was not measured.
MAX_ROWS = 512
DIFFUSE_ROWS = 32  # 5.6 degrees each, of a lobe that is 90 degrees wide
# Roughness of each specular map, and enough rows to resolve its lobe. The first is the picture itself. Closer together
# where lobes are narrow; chosen by eye.
_LEVELS = ((0.0, MAX_ROWS), (0.1, 256), (0.2, 128), (0.35, 64), (0.5, 64), (0.7, 32), (1.0, 32))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLight:
    """Prefiltered distant light, turned about +y by `yaw` (radians) and multiplied by `gain`. Make it by `prefilter`.

    Maps are equirectangular as in docs/conventions.md, channel first, with a border of one texel that continues them
    around the seam and over the poles. `specular_maps[i]` is for `roughness_levels[i]`, ascending.
    """

    diffuse_map: Float[Tensor, "3 h w"]
    specular_maps: tuple[Float[Tensor, "3 _ _"], ...]
    roughness_levels: tuple[float, ...]
    yaw: float = 0.0
    gain: float = 1.0

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Irradiance over pi at a unit normal."""
        return self.gain * _lookup(self.diffuse_map, self._uv(normal))

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance averaged over the GGX lobe about a mirror direction, between the two nearest prefiltered maps."""
        uv = self._uv(direction)
        levels = roughness.new_tensor(self.roughness_levels)
        above = torch.searchsorted(levels, roughness.detach().contiguous(), right=True).clamp(1, len(levels) - 1)
        share = ((roughness - levels[above - 1]) / (levels[above] - levels[above - 1])).clamp(0, 1)
        total = torch.zeros_like(direction)
        for index, level in enumerate(self.specular_maps):
            weight = torch.where(above == index, share, 0.0) + torch.where(above == index + 1, 1 - share, 0.0)
            total = total + weight * _lookup(level, uv)
        return self.gain * total

    def radiance(self, direction: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """What a camera sees when it looks along a unit direction: the background."""
        return self.gain * _lookup(self.specular_maps[0], self._uv(direction))

    def rotate(self, yaw: float) -> EnvironmentLight:
        """The same light turned by `yaw` more radians about +y (counter-clockwise seen from above)."""
        return replace(self, yaw=self.yaw + yaw)

    def scale(self, exposure: float) -> EnvironmentLight:
        """The same light `exposure` times as bright."""
        return replace(self, gain=self.gain * exposure)

    def to(self, device: torch.device | str) -> EnvironmentLight:
        """Return the same light with its maps on `device`."""
        return replace(
            self,
            diffuse_map=self.diffuse_map.to(device),
            specular_maps=tuple(level.to(device) for level in self.specular_maps),
        )

    def _uv(self, direction: Float[Tensor, "P 3"]) -> Float[Tensor, "P 2"]:
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        x, y, z = direction.unbind(-1)
        return _uv(torch.stack([cosine * x - sine * z, y, sine * x + cosine * z], -1))


def prefilter(envmap: Float[Tensor, "H W 3"]) -> EnvironmentLight:
    """Convolve a linear equirectangular picture (H, 2H, 3) with the cosine lobe and with GGX lobes.

    Each lobe is taken with normal, view and mirror direction equal, as the split sum does. Maps have at most 512 rows.
    Made on the CPU, without gradients; the maps end where `envmap` is.
    """
    picture = envmap.detach().cpu().numpy()
    sharp = shrunk(picture, MAX_ROWS)
    lobes = [_convolved(shrunk(sharp, rows), _ggx_lobe(roughness)) for roughness, rows in _LEVELS[1:]]
    diffuse = _convolved(shrunk(sharp, DIFFUSE_ROWS), lambda cosine: np.maximum(cosine, 0))
    return EnvironmentLight(
        diffuse_map=_bordered(diffuse, envmap),
        specular_maps=tuple(_bordered(level, envmap) for level in (sharp, *lobes)),
        roughness_levels=tuple(level for level, _ in _LEVELS),
    )


def environment_background(
    light: EnvironmentLight, cameras: Cameras, roughness: float = 0.0
) -> Float[Tensor, "B H W 3"]:
    """What cameras see of an environment behind the head, blurred as in a mirror of some roughness: linear radiance."""
    device = cameras.intrinsics.device
    fx, fy, cx, cy = cameras.intrinsics[:, :, None, None].unbind(1)
    v, u = torch.meshgrid(
        torch.arange(cameras.height, device=device) + 0.5,
        torch.arange(cameras.width, device=device) + 0.5,
        indexing="ij",
    )
    across, down = (u - cx) / fx, (v - cy) / fy
    in_camera = torch.stack([across, down, torch.ones_like(across)], -1).flatten(1, 2)
    direction = torch.nn.functional.normalize(in_camera @ cameras.camera_from_world[:, :, :3], dim=-1)
    looking = direction.flatten(0, 1)
    seen = light.specular(looking, torch.full_like(looking[:, :1], roughness)) if roughness else light.radiance(looking)
    return seen.view(*across.shape, 3)


def solid_angles(rows: int) -> Float[np.ndarray, " rows"]:
    """Solid angle of one texel in each row of an equirectangular map of `rows` rows."""
    edges = np.cos(np.arange(rows + 1) / rows * math.pi)
    return (edges[:-1] - edges[1:]) * math.pi / rows


def _ggx_lobe(roughness: float) -> Callable[[np.ndarray], np.ndarray]:
    """Weight of light by the cosine of its angle to the mirror direction, for n = v: D(half vector) * n.l."""
    alpha2 = roughness**4

    def lobe(cosine: np.ndarray) -> np.ndarray:
        half2 = 0.5 * (1 + cosine)  # squared cosine of the half angle
        return np.maximum(cosine, 0) / (half2 * (alpha2 - 1) + 1) ** 2

    return lobe


def _convolved(
    envmap: Float[np.ndarray, "H W 3"], lobe: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, "H W 3"]:
    """Average of the map over a lobe about each texel.

    The angle between two texels depends on their rows and on the difference of their columns, so each pair of rows is
    a circular convolution. One row at a time in numpy: torch's threads would only wait for each other here.
    """
    rows, columns = envmap.shape[:2]
    theta = ((np.arange(rows) + 0.5) / rows * math.pi).astype(np.float32)[:, None]
    cos_phi = np.cos(np.arange(columns) / columns * 2 * math.pi).astype(np.float32)
    weight = solid_angles(rows).astype(np.float32)[:, None]
    spectrum = np.fft.rfft(envmap, axis=1)
    result: list[np.ndarray] = []
    for row_theta in theta:
        cosine = np.cos(row_theta) * np.cos(theta) + np.sin(row_theta) * np.sin(theta) * cos_phi
        kernel = lobe(np.clip(cosine, -1, 1)) * weight
        mixed = np.einsum("jk,jkc->kc", np.fft.rfft(kernel / kernel.sum(), axis=1), spectrum)
        result.append(np.fft.irfft(mixed, n=columns, axis=0))
    # The transform leaves noise of 1e-7 of the brightest texel, which must not make light negative.
    return np.maximum(np.stack(result), 0).astype(np.float32)


def shrunk(envmap: Float[np.ndarray, "H W 3"], rows: int) -> Float[np.ndarray, "h w 3"]:
    """The map in at most `rows` rows, each texel the mean over its solid angle."""
    if rows >= len(envmap):
        return envmap
    weight = np.broadcast_to(solid_angles(len(envmap))[:, None, None], (*envmap.shape[:2], 1))
    weighted = np.concatenate([envmap * weight, weight], -1)
    pooled = cv2.resize(weighted, (2 * rows, rows), interpolation=cv2.INTER_AREA)
    return (pooled[..., :3] / pooled[..., 3:]).astype(np.float32)


def _bordered(envmap: Float[np.ndarray, "H W 3"], like: Tensor) -> Float[Tensor, "3 H2 W2"]:
    over_the_pole = np.roll(envmap, envmap.shape[1] // 2, 1)
    tall = np.concatenate([over_the_pole[:1], envmap, over_the_pole[-1:]])
    bordered = np.concatenate([tall[:, -1:], tall, tall[:, :1]], 1)
    return torch.from_numpy(np.ascontiguousarray(bordered.transpose(2, 0, 1))).to(like)


def _uv(direction: Float[Tensor, "P 3"]) -> Float[Tensor, "P 2"]:
    """(u, v) of directions in an equirectangular map, 0 to 1."""
    x, y, z = direction.unbind(-1)
    # The floor and the stand-in for z keep gradients finite at the poles.
    theta = torch.atan2(torch.sqrt(x**2 + z**2 + 1e-12), y)
    phi = torch.atan2(x, torch.where((x == 0) & (z == 0), 1.0, -z))
    return torch.stack([phi / (2 * math.pi) + 0.5, theta / math.pi], -1)


def _lookup(bordered: Float[Tensor, "3 H W"], uv: Float[Tensor, "P 2"]) -> Float[Tensor, "P 3"]:
    """Bilinear lookup in a bordered map."""
    padded = uv.new_tensor([bordered.shape[2], bordered.shape[1]])
    grid = (uv * (padded - 2) + 1) / padded * 2 - 1
    values = torch.nn.functional.grid_sample(bordered[None], grid[None, None], align_corners=False)
    return values[0, :, 0].T
