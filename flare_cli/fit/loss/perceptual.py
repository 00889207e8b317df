"""The perceptual term: distance of features of a pretrained network, when one is at hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

VGG16_FILE = "vgg16-397923af.pth"
# Channels through the convolutions of each block; a pooling stands between blocks (Simonyan and Zisserman 2015).
VGG16_BLOCKS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512))
# What torchvision's weights were trained on: pictures of this mean and deviation, of this size.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_SIZE = 224


def vgg16_weights() -> Path | None:
    """torchvision's ImageNet VGG16 weights in torch's own cache folder, if someone has put them there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG16_FILE
    return path if path.is_file() else None


def perceptual_status() -> str:
    """One line for people: is the perceptual term available, and if not, how to get it."""
    if vgg16_weights() is not None:
        return "VGG16 (torchvision, ImageNet)"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return f"off: put torchvision's {VGG16_FILE} into {folder}"


@final
class PerceptualDistance(nn.Module):
    """L1 distance of the features after VGG16's first four blocks, at 224 x 224 (Johnson et al. 2016; as in FLARE)."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state = torch.load(weights, map_location="cpu", weights_only=True)
        blocks: list[nn.Sequential] = []
        index = 0
        for channels in VGG16_BLOCKS:
            layers: list[nn.Module] = [] if index == 0 else [nn.MaxPool2d(2)]
            index += index > 0
            for n_in, n_out in pairwise(channels):
                layer = nn.Conv2d(n_in, n_out, 3, padding=1)
                layer.load_state_dict({k: state[f"features.{index}.{k}"] for k in ("weight", "bias")})
                layers += [layer, nn.ReLU()]
                index += 2
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])
        self.requires_grad_(False)

    def forward(self, a: Float[Tensor, "B H W 3"], b: Float[Tensor, "B H W 3"]) -> Float[Tensor, ""]:
        """Mean distance of two batches of pictures in 0..1; the gradient flows into `a` only."""
        pictures = torch.cat([a, b.detach()]).permute(0, 3, 1, 2)
        size = (INPUT_SIZE, INPUT_SIZE)
        features = nn.functional.interpolate(pictures, size=size, mode="bilinear", antialias=True)
        features = (features - self.mean) / self.std
        total = features.new_zeros(())
        for block in self.blocks:
            features = block(features)
            first, second = features.chunk(2)
            total = total + (first - second).abs().mean()
        return total
