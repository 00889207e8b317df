"""Materials: albedo, roughness and specular intensity as a field on the canonical surface."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.networks.mlp import evaluate, layered
from flare_cli.avatar.spec import MaterialSpec
from flare_cli.render.backend import choose_encoding
from flare_cli.render.encoding.interface import Encoding

# Where the field starts. Albedo: between fair and dark skin, by eye; the fit moves it within the first steps. Roughness
# and specular intensity: the means of their priors on skin (docs/method.md).
INITIAL_ALBEDO, INITIAL_ROUGHNESS, INITIAL_SPECULAR = 0.4, 0.5, 0.3753


@dataclass(frozen=True, slots=True)
class Material:
    """Surface properties at P points, each in 0..1, linear."""

    albedo: Float[Tensor, "P 3"]
    roughness: Float[Tensor, "P 1"]
    specular: Float[Tensor, "P 1"]

    def in_columns(self) -> Float[Tensor, "P 5"]:
        """Albedo, roughness and specular intensity side by side."""
        return torch.cat([self.albedo, self.roughness, self.specular], 1)

    @staticmethod
    def of_columns(values: Float[Tensor, "P 5"]) -> Material:
        """The other way."""
        return Material(*values.split([3, 1, 1], 1))


@final
class FrequencyEncoding(nn.Module):
    """sin and cos of the position at octaves of frequency (NeRF, equation 4), with the position itself in front."""

    capturable = True

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.octaves = octaves
        self.width = 3 + 6 * octaves

    def forward(self, position: Float[Tensor, "P 3"]) -> Float[Tensor, "P N"]:
        """Encode positions in 0..1."""
        centred = 2 * position - 1
        frequencies = math.pi * 2.0 ** torch.arange(self.octaves, device=position.device, dtype=position.dtype)
        phase = (centred[:, None] * frequencies[:, None]).flatten(1)
        return torch.cat([centred, phase.sin(), phase.cos()], 1)


@final
class MaterialField(nn.Module):
    """Encoding + MLP; sigmoid outputs. The encoding is positional (published stage 1) or a hash grid (stage 2)."""

    def __init__(self, spec: MaterialSpec, *, device: torch.device) -> None:
        super().__init__()
        if spec.encoding == "hash":
            self.encoding: Encoding = choose_encoding(
                spec.hash_grid,
                device,
                levels=spec.levels,
                features=spec.features,
                log2_entries=spec.log2_entries,
                base=spec.base_resolution,
                finest=spec.finest_resolution,
            )
        else:
            self.encoding = FrequencyEncoding(spec.octaves)
        start = torch.tensor([INITIAL_ALBEDO] * 3 + [INITIAL_ROUGHNESS, INITIAL_SPECULAR])
        self.network = layered([self.encoding.width, *[spec.width] * spec.depth, 5], start.logit()).to(device)

    def forward(self, position: Float[Tensor, "P 3"]) -> Material:
        """Materials at canonical positions in 0..1."""
        albedo, roughness, specular = evaluate(self.network, self.encoding(position)).sigmoid().split([3, 1, 1], 1)
        return Material(albedo, roughness, specular)
