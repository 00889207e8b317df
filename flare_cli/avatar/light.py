"""The unknown light of a recording: distant, prefiltered, as a network on (direction, roughness)."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.networks.mlp import evaluate, layered
from flare_cli.render.light.integrated_directional import ENCODING_WIDTH, directional_encoding
from flare_cli.render.light.octahedral_map import octahedral_lookup


@final
class NeuralLight(nn.Module):
    """Neural split-sum light (FLARE section 3.3): an MLP from the integrated directional encoding to radiance.

    The output is `floor + softplus(x)`: radiance is positive for every input, and the gradient does not vanish as an
    unactivated output's does behind the tone map's clamp, so the light can't collapse to zero and stay there.
    """

    def __init__(self, *, width: int, depth: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        white = torch.full((3,), 0.54)  # softplus(0.54) = 1: the fit starts under white light of radiance 1
        self.network = layered([ENCODING_WIDTH, *[width] * depth, 3], white)

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance from around `direction`, blurred by `roughness`."""
        encoded = directional_encoding(direction, roughness)
        return self.floor + nn.functional.softplus(evaluate(self.network, encoded))

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Cosine-weighted mean radiance over the hemisphere of `normal`: the lookup at roughness 1.

        Light that is blurred so much changes little between the nodes of a table, so the network runs at the nodes
        alone and not at every pixel (docs/experiments.md, "Two CPU cores").
        """
        return octahedral_lookup(lambda direction: self.specular(direction, torch.ones_like(direction[:, :1])), normal)
