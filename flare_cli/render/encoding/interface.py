"""What an encoding must do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Encoding(Protocol):
    """A trainable field of features over the unit cube."""

    @property
    def width(self) -> int:
        """Number of features per point."""
        ...

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph may capture its calls."""
        ...

    def __call__(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P width"]:
        """Features at points in 0..1; gradients to the table and to the points."""
        ...
