"""The learned deformer: corrections to the head model's expression directions, pose directions and skinning weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Corrections:
    """What the deformer adds at each of the head model's vertices: directions in metres, weights as log-weights."""

    expression_dirs: Float[Tensor, "V 3 E"]
    pose_dirs: Float[Tensor, "V 3 P"]
    log_weights: Float[Tensor, "V J"]


@final
class Deformer(nn.Module):
    """An MLP on the canonical position (FLARE section 3.2), predicting what to add to the head model's own values.

    The original predicts the values themselves and is pulled towards the nearest FLAME vertex. On the head's own
    topology the nearest vertex is known, so the network predicts the difference: it starts at zero, and the prior is
    its size. Softplus with beta 100 and weight normalisation as in the original; the last layer starts at zero.
    """

    DIRECTION_SCALE = 0.01  # metres per unit of output: the size of a facial motion

    def __init__(self, *, width: int, depth: int, n_expression: int, n_pose: int, n_joints: int) -> None:
        super().__init__()
        self.sizes = (3 * n_expression, 3 * n_pose, n_joints)
        layers: list[nn.Module] = []
        for i in range(depth):
            linear = nn.Linear(3 if i == 0 else width, width)
            layers += [nn.utils.parametrizations.weight_norm(linear), nn.Softplus(beta=100)]
        last = nn.Linear(width, sum(self.sizes))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, position: Float[Tensor, "V 3"]) -> Corrections:
        """Corrections at canonical positions that are scaled to about -1..1."""
        expression, pose, log_weights = self.layers(position).split(self.sizes, -1)
        n = position.shape[0]
        return Corrections(
            self.DIRECTION_SCALE * expression.reshape(n, 3, -1),
            self.DIRECTION_SCALE * pose.reshape(n, 3, -1),
            log_weights,
        )
