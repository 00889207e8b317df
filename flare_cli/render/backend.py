"""Which rasterizer and which encoding: the only place that chooses."""

from __future__ import annotations

import torch

from flare_cli.errors import BackendError
from flare_cli.render.device import choose_device
from flare_cli.render.encoding.grid_table import GridShape
from flare_cli.render.encoding.interface import Encoding
from flare_cli.render.raster.interface import Rasterizer

# As `flare doctor` lists them. "auto" is Warp on every device: in fits the fastest measured (docs/backends.md).
RASTERIZERS = ("warp", "nvdiffrast", "pytorch3d")
ENCODINGS = ("warp", "tinycudann", "torch")


def choose_rasterizer(name: str = "auto", device: torch.device | str = "cpu") -> Rasterizer:
    """The rasterizer called `name`, or the best one for `device`; the only place that decides.

    Raises `BackendError` where it is unknown, not installed, or does not run on `device`.
    """
    device = choose_device(device)
    if name in ("auto", "warp"):
        from flare_cli.render.raster.warp_rasterizer import WarpRasterizer

        return WarpRasterizer()
    if name == "nvdiffrast":
        from flare_cli.render.raster.nvdiffrast_rasterizer import NvdiffrastRasterizer

        return NvdiffrastRasterizer(device)
    if name == "pytorch3d":
        from flare_cli.render.raster.pytorch3d_rasterizer import Pytorch3dRasterizer

        return Pytorch3dRasterizer()
    raise _unknown("rasterizer", name, RASTERIZERS)


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
    """A multiresolution hash grid by the encoding called `name`, or by the best one for `device`.

    The tables of "warp" and "torch" are one and the same; the table of "tinycudann" is laid out differently.
    """
    device = choose_device(device)
    shape = GridShape(levels=levels, features=features, log2_entries=log2_entries, base=base, finest=finest)
    if name in ("auto", "warp"):
        from flare_cli.render.encoding.hash_grid import HashGrid

        return HashGrid(shape, generator).to(device)
    if name == "torch":
        from flare_cli.render.encoding.torch_encoding import TorchHashGrid

        return TorchHashGrid(shape, generator).to(device)
    if name == "tinycudann":
        from flare_cli.render.encoding.tinycudann_encoding import TinyCudaHashGrid

        return TinyCudaHashGrid(shape, generator, device)
    raise _unknown("encoding", name, ENCODINGS)


def _unknown(what: str, name: str, known: tuple[str, ...]) -> BackendError:
    return BackendError(f"unknown {what} {name!r}", hint=f"choose one of auto, {', '.join(known)} as the {what}")
