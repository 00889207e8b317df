"""The table of a multiresolution hash grid over the unit cube (Müller et al., Instant-NGP, 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

INITIAL_RANGE = 1e-4  # rows start uniform in plus or minus this (Instant-NGP, section 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridShape:
    """`levels` grids from `base` to `finest` cells per side, `features` numbers at each corner.

    A level has one table row per grid corner while they fit into 2**log2_entries rows, and shares rows by hash beyond.
    The defaults are FLARE's (docs/method.md, model 3).
    """

    levels: int = 16
    features: int = 2
    log2_entries: int = 19
    base: int = 16
    finest: int = 4096

    @property
    def width(self) -> int:
        """Number of features per point."""
        return self.levels * self.features


class GridTable(nn.Module):
    """The trainable table, and where each level lies in it. Subclasses look points up; their tables are the same."""

    resolutions: Int[Tensor, "L"]
    offsets: Int[Tensor, "L1"]
    sizes: Int[Tensor, "L"]
    hashed: Int[Tensor, "L"]

    def __init__(self, shape: GridShape, generator: torch.Generator | None = None) -> None:
        super().__init__()
        growth = (shape.finest / shape.base) ** (1 / max(shape.levels - 1, 1))
        # The small addend keeps an exact power from being rounded down by one cell.
        resolutions = torch.tensor([int(shape.base * growth**level + 1e-6) for level in range(shape.levels)])
        corners = (resolutions + 1) ** 3
        sizes = corners.clamp(max=2**shape.log2_entries)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        self.register_buffer("resolutions", resolutions.int(), persistent=False)
        self.register_buffer("offsets", offsets.int(), persistent=False)
        self.register_buffer("sizes", sizes.int(), persistent=False)
        self.register_buffer("hashed", (corners > sizes).int(), persistent=False)
        rows = torch.rand(int(offsets[-1]), shape.features, generator=generator)
        self.table = nn.Parameter((2 * rows - 1) * INITIAL_RANGE)

    @property
    def width(self) -> int:
        """Number of features per point, level by level."""
        return len(self.resolutions) * self.table.shape[1]
