"""The learned deformer: corrections to the head model's expression directions, pose directions and skinning weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.networks.cpu_mlp import Softplus, cpu_mlp

BETA = 100.0  # of the softplus, as published (docs/method.md, model 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What the deformer adds at each of the head model's vertices: directions in metres, weights as log-weights.

    Directions are linear in `features` (the last hidden layer and a 1), so the K directions of every vertex are never
    written out (docs/experiments.md, "Two CPU cores"). `moments` is the mean of features times features over the
    vertices.
    """

    features: Float[Tensor, "V D"]
    moments: Float[Tensor, "D D"]
    expression: Float[Tensor, "3 E D"]
    pose: Float[Tensor, "3 P D"]
    log_weights: Float[Tensor, "V J"]

    def offsets(self, factors: Float[Tensor, "B K"]) -> Float[Tensor, "B V 3"]:
        """What the K factors, those of E expressions and then of P pose directions, add to the vertices."""
        directions = torch.cat([self.expression, self.pose], 1)
        return self.features @ torch.einsum("bk,ckd->bdc", factors, directions)

    def mean_square(self, directions: Float[Tensor, "3 K D"]) -> Float[Tensor, ""]:
        """Mean square of `expression` or `pose` directions over vertices, axes and directions: metres squared."""
        rows = directions.flatten(0, 1)
        return ((rows @ self.moments) * rows).sum() / len(rows)


@final
class Deformer(nn.Module):
    """An MLP on the canonical position (FLARE section 3.2), predicting what to add to the head model's own values.

    The original predicts the values themselves and is pulled towards the nearest FLAME vertex. On the head's own
    topology the nearest vertex is known, so the network predicts the difference: it starts at zero, and the prior is
    its size. Softplus with beta 100 and weight normalisation as in the original; the last layer starts at zero.
    """

    DIRECTION_SCALE = 0.01  # metres per unit of output: about as far as an expression moves skin; not tuned

    def __init__(self, *, width: int, depth: int, n_expression: int, n_pose: int, n_joints: int) -> None:
        super().__init__()
        self.sizes = (3 * n_expression, 3 * n_pose, n_joints)
        layers: list[nn.Module] = []
        for i in range(depth):
            linear = nn.Linear(3 if i == 0 else width, width)
            layers += [nn.utils.parametrizations.weight_norm(linear), nn.Softplus(beta=BETA)]
        last = nn.Linear(width, sum(self.sizes))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, position: Float[Tensor, "V 3"]) -> Corrections:
        """Corrections at canonical positions that are scaled to about -1..1."""
        features = nn.functional.pad(self._hidden(position), (0, 1), value=1.0)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        rows = torch.cat([last.weight, last.bias[:, None]], 1)
        expression, pose, weights = rows.split(self.sizes)
        return Corrections(
            features=features,
            moments=features.T @ features / len(features),
            expression=self.DIRECTION_SCALE * expression.unflatten(0, (3, -1)),
            pose=self.DIRECTION_SCALE * pose.unflatten(0, (3, -1)),
            log_weights=features @ weights.T,
        )

    def _hidden(self, position: Float[Tensor, "V 3"]) -> Float[Tensor, "V D"]:
        if position.device.type != "cpu":
            return self.layers[:-1](position)
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        return cpu_mlp(position, linear[:-1], Softplus(BETA), last=True)
