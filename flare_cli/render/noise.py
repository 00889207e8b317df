"""Random numbers by counter: the seed is a tensor, so a captured step draws new ones at each replay.

The same seed gives the same numbers on every device (to the rounding of its logarithm and cosine).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.kernels import noise as kernels
from flare_cli.render.launch import launch, vectors


def normal_noise(seed: Int[Tensor, "1"], count: int) -> Float[Tensor, "P 3"]:
    """Independent standard normal numbers. `seed` is int32."""
    out = torch.empty(count, 3, device=seed.device)
    launch(kernels.normal, count, seed.device, [seed, vectors(out)])
    return out


def uniform_noise(seed: Int[Tensor, "1"], count: int) -> Float[Tensor, " P"]:
    """Independent numbers from 0 to below 1, unrelated to `normal_noise` of the same seed. `seed` is int32."""
    out = torch.empty(count, device=seed.device)
    launch(kernels.uniform, count, seed.device, [seed, out])
    return out
