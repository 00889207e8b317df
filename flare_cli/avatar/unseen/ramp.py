"""Shares that rise from nothing to all."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def ramp(values: Float[Tensor, "*batch"], nothing: float, everything: float) -> Float[Tensor, "*batch"]:
    """From 0 where values are `nothing` evenly to 1 where they are `everything`, which may be the smaller."""
    return ((values - nothing) / (everything - nothing)).clamp(0, 1)
