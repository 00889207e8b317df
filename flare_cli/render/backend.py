"""What a rasterizer and an encoding must do, and the only place that chooses one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.errors import BackendError


@dataclass(frozen=True, slots=True)
class Fragments:
    """What each pixel of `B` pictures sees.

    `triangle` is -1 where a pixel sees nothing; there the rest is 0. `barycentric` (perspective-correct, sums to one)
    and `depth` (clip w, camera depth) carry gradients to the clip positions; the choice of triangle carries none.
    """

    triangle: Int[Tensor, "B H W"]
    barycentric: Float[Tensor, "B H W 3"]
    depth: Float[Tensor, "B H W"]


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels worth shading: `index` is flat into B*H*W and ascending, `batch` the picture each belongs to."""

    index: Int[Tensor, " P"]
    batch: Int[Tensor, " P"]


class Rasterizer(Protocol):
    """Triangles to pixels, differentiably. Clip space, fill rule and near plane: docs/conventions.md."""

    @property
    def name(self) -> str:
        """What `flare doctor` calls it."""
        ...

    def rasterize(self, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Fragments:
        """Find the nearest triangle at each pixel centre; equal depths go to the lowest triangle."""
        ...

    def interpolate(
        self,
        attributes: Float[Tensor, "A V C"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
        pixels: Pixels,
    ) -> Float[Tensor, "P C"]:
        """Vertex attributes at `pixels`; gradients to attributes and barycentrics. `A` is B, or 1 for all pictures.

        `faces` may index other vertices than the rasterized ones (texture coordinates), in the same face order.
        """
        ...

    def antialias(
        self,
        image: Float[Tensor, "B H W C"],
        clip: Float[Tensor, "B V 4"],
        faces: Int[Tensor, "F 3"],
        fragments: Fragments,
    ) -> Float[Tensor, "B H W C"]:
        """Blend across silhouettes by where the edge passes between pixels; gradients to image and clip.

        The result stays within the range of the image. This is the only gradient that moves a silhouette.
        """
        ...


class Encoding(Protocol):
    """A trainable field of features over the unit cube."""

    @property
    def width(self) -> int:
        """Number of features per point."""
        ...

    def __call__(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points."""
        ...


def foreground(fragments: Fragments) -> Pixels:
    """The pixels that see a triangle."""
    seen = fragments.triangle.flatten() >= 0
    index = torch.nonzero(seen)[:, 0]
    height, width = fragments.triangle.shape[1:]
    return Pixels(index, torch.div(index, height * width, rounding_mode="floor"))


def scatter(
    values: Float[Tensor, "P C"],
    pixels: Pixels,
    shape: tuple[int, int, int],
    background: Float[Tensor, "*shape"] | float,
) -> Float[Tensor, "B H W C"]:
    """Lay `values` into pictures of `shape` (B, H, W) over `background` (a number, a colour or pictures)."""
    channels = values.shape[1]
    canvas = torch.as_tensor(background, dtype=values.dtype, device=values.device).expand(*shape, channels)
    return canvas.reshape(-1, channels).index_copy(0, pixels.index, values).view(*shape, channels)


def choose_rasterizer(name: str = "auto", device: torch.device | str = "cpu") -> Rasterizer:
    """The rasterizer called `name`, or the best one for `device`; the only place that decides."""
    _check_device(device)
    if name in ("auto", "warp"):
        from flare_cli.render.warp_rasterizer import WarpRasterizer

        return WarpRasterizer()
    raise _unavailable("rasterizer", name, ("nvdiffrast", "pytorch3d"))


def choose_encoding(
    name: str = "auto",
    device: torch.device | str = "cpu",
    *,
    levels: int = 16,
    features: int = 2,
    log2_entries: int = 19,
    base: int = 16,
    finest: int = 4096,
    generator: torch.Generator | None = None,
) -> Encoding:
    """A multiresolution hash grid by the encoding called `name`, or by the best one for `device`."""
    _check_device(device)
    if name in ("auto", "warp"):
        from flare_cli.render.hash_grid import HashGrid

        grid = HashGrid(
            levels=levels,
            features=features,
            log2_entries=log2_entries,
            base=base,
            finest=finest,
            generator=generator,
        )
        return grid.to(device)
    raise _unavailable("encoding", name, ("tinycudann",))


def _check_device(device: torch.device | str) -> None:
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise BackendError(f"no renderer runs on {kind!r}", hint="choose the device cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise BackendError("torch finds no CUDA device", hint="choose the device cpu, or install torch for CUDA")


def _unavailable(what: str, name: str, planned: tuple[str, ...]) -> BackendError:
    if name in planned:
        return BackendError(
            f"the {what} {name!r} is not available in this version", hint=f'use "warp" or "auto" as the {what}'
        )
    return BackendError(f"unknown {what} {name!r}", hint=f'choose "auto" or "warp" as the {what}')
