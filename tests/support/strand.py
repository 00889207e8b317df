"""The least hair that hangs: four triangles beside the neck, two on each side."""

import torch

from flare_cli.head.joints import Joint
from flare_cli.head.model import HangingHair, HeadModel


def strand(head: HeadModel) -> HangingHair:
    """Hair that the neck joint of `head` carries."""
    one = torch.tensor([[0.09, 0.0, 0.01], [0.09, -0.1, 0.01], [0.09, 0.0, -0.01], [0.09, -0.1, -0.01]])
    places = torch.cat([one, one * torch.tensor([-1, 1, 1])])
    weights = torch.zeros(8, len(head.parents))
    weights[:, Joint.NECK] = 1
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 6, 5], [6, 7, 5]])
    corners = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.6, 1.0], [0.6, 0.0]])
    uv = torch.cat([corners, corners * torch.tensor([-1, 1]) + torch.tensor([1, 0])])
    return HangingHair(places=places, faces=faces, weights=weights, uv=uv)
