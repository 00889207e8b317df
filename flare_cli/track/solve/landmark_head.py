"""The head model as its landmarks see it: positions, normals, and how much each landmark is to be trusted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import at_points
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_IRIS, RIGHT_IRIS

# Chosen by eye on the development recordings: the spread (metres) at which a landmark counts half, the weight of those
# on the face's outline as seen, and of each iris's middle.
HALF_WEIGHT_SPREAD = 0.002
OVAL_WEIGHT, IRIS_WEIGHT = 0.15, 4.0


def landmark_head(head: HeadModel) -> HeadModel:
    """A head whose vertices are the used landmarks themselves."""
    used = head.landmarks.face >= 0
    return at_points(head, head.landmarks.face[used], head.landmarks.barycentric[used])


def landmark_weights(head: HeadModel) -> Float[Tensor, "L"]:
    """How much each used landmark counts (mean 1): less where it slides over the skin."""
    used = head.landmarks.face >= 0
    weight = 1 / (1 + (head.landmarks.spread / HALF_WEIGHT_SPREAD).square())
    oval = torch.tensor(FACE_OVAL, device=weight.device)
    weight = weight.index_fill(0, oval, 0.0) + torch.zeros_like(weight).index_fill(0, oval, OVAL_WEIGHT)
    # Only the irises say where the eyes look: ten points against five hundred.
    irises = torch.tensor([RIGHT_IRIS, LEFT_IRIS], device=weight.device)
    weight = weight.index_fill(0, irises, IRIS_WEIGHT)
    return (weight / weight[used].mean())[used]


def landmark_normals(head: HeadModel) -> Float[Tensor, "L 3"]:
    """Outward unit normals of the mean head at its used landmarks."""
    a, b, c = head.template[head.faces[head.landmarks.face[head.landmarks.face >= 0]]].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
