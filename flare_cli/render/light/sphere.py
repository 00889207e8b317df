"""Directions all around, and soft functions of them in nine numbers: real spherical harmonics to degree 2."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor


def even_directions(n: int) -> Float[Tensor, "n 3"]:
    """`n` unit directions that stand for equal parts of the sphere: a Fibonacci spiral about +y (Gonzalez 2010)."""
    k = torch.arange(n, dtype=torch.float64) + 0.5
    turn = math.pi * (1 + math.sqrt(5)) * k
    up = 1 - 2 * k / n
    across = (1 - up**2).sqrt()
    return torch.stack([across * turn.cos(), up, across * turn.sin()], 1).float()


def harmonics(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Orthonormal over the sphere, at unit directions: factors times 1; y, z, x; xy, yz, 3z^2 - 1, xz, x^2 - y^2."""
    x, y, z = direction.unbind(-1)
    c0, c1, c2 = 0.5 / math.sqrt(math.pi), math.sqrt(0.75 / math.pi), math.sqrt(3.75 / math.pi)
    values = [
        torch.full_like(x, c0),
        c1 * y,
        c1 * z,
        c1 * x,
        c2 * x * y,
        c2 * y * z,
        c2 / math.sqrt(12) * (3 * z * z - 1),
        c2 * x * z,
        0.5 * c2 * (x * x - y * y),
    ]
    return torch.stack(values, -1)


ONE = 2 * math.sqrt(math.pi)  # the first of nine numbers of the function that is 1 everywhere; the others are 0


def turned_harmonics(rotation: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 9 9"]:
    """Matrices that turn functions: `f @ matrix` are the nine numbers of f's function after `rotation`.

    The turned function at d is f at the direction that was turned to d. Nine directions or more determine it exactly.
    """
    directions, from_values = _solver(rotation.device)
    return (from_values @ harmonics(directions @ rotation)).transpose(1, 2)  # rows of the product are rotation^T d


@functools.cache
def _solver(device: torch.device) -> tuple[Float[Tensor, "M 3"], Float[Tensor, "9 M"]]:
    """Some directions, and what makes nine numbers of a function's values there."""
    directions = even_directions(32)
    return directions.to(device), torch.linalg.pinv(harmonics(directions.double())).float().to(device)
