"""The multiresolution hash grid in plain torch: slow, readable, any precision, gradients by autograd."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.encoding.grid_table import GridTable

_CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_PRIMES = (1, 2654435761, 805459861)  # Instant-NGP, equation 4, in arithmetic of 32 bits
_32_BITS = 0xFFFFFFFF


@final
class TorchHashGrid(GridTable):
    """What `HashGrid` computes, from the same table: the oracle of the conformance tests.

    It keeps 8 corners of every level of every point for its gradient, which a GPU adds up in no fixed order.
    """

    capturable = True

    def forward(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points. Points outside are extrapolated."""
        resolution = self.resolutions[:, None, None]
        scaled = points * resolution
        cell = torch.minimum(scaled.detach().floor().clamp(min=0), resolution - 1)
        fraction = scaled - cell
        rows: list[Tensor] = []
        weights: list[Tensor] = []
        for corner in _CORNERS:
            rows.append(self._rows(torch.stack([cell[..., i].long() + corner[i] for i in range(3)], -1)))
            factors = [fraction[..., i] if corner[i] else 1 - fraction[..., i] for i in range(3)]
            weights.append(factors[0] * factors[1] * factors[2])
        entries = torch.nn.functional.embedding(torch.stack(rows), self.table)
        features = (torch.stack(weights)[..., None] * entries).sum(0)
        return features.transpose(0, 1).flatten(1)

    def _rows(self, corner: Int[Tensor, "L P 3"]) -> Int[Tensor, "L P"]:
        """Table rows of grid corners: counted, x fastest, or hashed on levels that have more corners than rows."""
        x, y, z = corner.unbind(-1)
        side = self.resolutions[:, None].long() + 1
        counted = x + side * (y + side * z)
        hashed = (x * _PRIMES[0]) ^ (y * _PRIMES[1] & _32_BITS) ^ (z * _PRIMES[2] & _32_BITS)
        rows = torch.where(self.hashed[:, None] > 0, hashed % self.sizes[:, None], counted)
        return self.offsets[:-1, None] + rows
