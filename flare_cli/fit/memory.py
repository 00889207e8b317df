"""How much GPU memory a fit takes, and the batch that fits into less."""

from __future__ import annotations

from dataclasses import replace

import torch

from flare_cli.config.schema import Config
from flare_cli.errors import ConfigError

GIB = 2**30
# Estimates, rounded up. Fits held to 8 GB peaked at 1.06 to 2.97 GiB at 1024 x 1024 (docs/performance.md).
#
# What the program takes besides torch's own memory: the CUDA context, cuBLAS, compiled kernels.
OUTSIDE = 0.75 * GIB
# Networks, hash grid, Adam's state and their work space.
FIXED = 0.5 * GIB
# Per pixel of a batch, with room for faces that fill the picture: at 512 x 512 and batch 4, the face on 36 % of it,
# `default` was measured at 0.7 GiB in all, `paper` at 1.7 GiB.
PER_PIXEL = 2.5 * 1024
# Per picture of a batch: features of the perceptual network, at its own size.
PERCEPTUAL = 0.25 * GIB


def within_vram(config: Config, size: tuple[int, int], gib: float) -> tuple[Config, list[str]]:
    """`config` with batches that fit into `gib` GiB of GPU memory for pictures of `size`, and what was changed.

    Raises `ConfigError` if not even single pictures fit.
    """
    for_pictures = gib * GIB - OUTSIDE - FIXED
    per_picture = PER_PIXEL * size[0] * size[1] + (PERCEPTUAL if config.loss.perceptual > 0 else 0)
    largest = int(for_pictures / per_picture)
    if largest < 1:
        raise ConfigError(
            f"{gib:g} GiB of GPU memory are too little for pictures of {size[1]}x{size[0]}"
            f" (about {(per_picture + OUTSIDE + FIXED) / GIB:.1f} GiB)",
            hint=f"fit smaller pictures: --set data.size={size[0] // 2}",
        )
    smaller = [stage for stage in config.stage if stage.batch > largest]
    notes = [f"stage {s.name!r}: batch {s.batch} -> {largest}, to fit into {gib:g} GiB" for s in smaller]
    return replace(config, stage=tuple(replace(s, batch=min(s.batch, largest)) for s in config.stage)), notes


def limit_vram(gib: float, device: torch.device) -> None:
    """Let torch take no more of the GPU than leaves `gib` GiB for the whole program: more ends as out of memory."""
    number = torch.empty(0, device=device).get_device()
    total_memory = torch.cuda.get_device_properties(number).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (gib * GIB - OUTSIDE) / total_memory), number)
