"""Small networks evaluated at very many points: materials and light."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# A GPU spends most of a float32 layer on moving its activations; bfloat16 halves them and uses the matrix units.
GPU_DTYPE = torch.bfloat16


def evaluate(network: nn.Module, points: Float[Tensor, "P N"]) -> Float[Tensor, "P M"]:
    """The network's values in float32; on a GPU its layers run in bfloat16 (docs/experiments.md has the quality)."""
    kind = points.device.type
    # Without the cache: a captured step must cast the weights anew at each replay.
    with torch.autocast(kind, GPU_DTYPE, enabled=kind == "cuda", cache_enabled=False):
        return network(points).float()
