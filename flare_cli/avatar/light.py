"""The unknown light of a recording: distant; a network on (direction, roughness), or radiance from all around."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.avatar.networks.mlp import evaluate, layered
from flare_cli.avatar.spec import LightSpec
from flare_cli.render.light.environment import EnvironmentLight, prefilter
from flare_cli.render.light.integrated_directional import ENCODING_WIDTH, directional_encoding
from flare_cli.render.light.octahedral_map import octahedral_lookup
from flare_cli.render.light.samples import LightSamples, even_samples, map_directions, sample_environment
from flare_cli.render.light.sphere import ONE

# Directions to which an environment map is reduced. Pictures of a fitted head by 256 are 40 to 54 dB from those by
# 6,000, by 512 46 to 60 dB (studio, overcast, sunset, night street).
GPU_DIRECTIONS, CPU_DIRECTIONS = 512, 256


@final
class NeuralLight(nn.Module):
    """Neural split-sum light (FLARE section 3.3): an MLP from the integrated directional encoding to radiance.

    The output is `floor + softplus(x)`: radiance is positive for every input, and the gradient does not vanish as an
    unactivated output's does behind the tone map's clamp, so the light can't collapse to zero and stay there. It is one
    for all videos.
    """

    videos = (0,)

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

    def to_map(self, height: int) -> Float[Tensor, "H W 3"]:
        """As an equirectangular picture of `height` rows: what it shows to a mirror."""
        looking = map_directions(height).to(next(self.network.parameters()))
        return torch.stack([self.specular(row, torch.zeros_like(row[:, :1])) for row in looking])

    def place(self, video: int) -> int:
        """As `ExplicitLight.place`."""
        return 0

    def at(self, place: Int[Tensor, "1"]) -> NeuralLight:
        """As `ExplicitLight.at`."""
        return self

    def of_video(self, video: int) -> NeuralLight:
        """As `ExplicitLight.of_video`."""
        return self

    def of_environment(self, envmap: Float[Tensor, "H W 3"]) -> EnvironmentLight:
        """Another light (linear, equirectangular) for this avatar: prefiltered, as this one is."""
        return prefilter(envmap)


@final
class ExplicitLight(nn.Module):
    """Radiance from even directions, as its logarithm: one environment for matte and glossy light.

    It is positive, and lamps are a thousand times as bright as dark walls: steps of the logarithm suit both. The
    logarithm is nine harmonics, which move all directions at once, and what these leave of each: alone, directions
    follow so slowly that mesh and albedo take up the light first (docs/experiments.md). It can be written down as a map
    (`LightSamples.to_map`).

    A person who was filmed more than once has a light for each of `videos`, the numbers that a track gives them. Asked
    as one light, it is that of the first.
    """

    def __init__(self, *, directions: int, videos: tuple[int, ...] = (0,), device: torch.device) -> None:
        super().__init__()
        self.videos = videos
        self.coarse = nn.Parameter(torch.zeros(len(videos), 9, 3, device=device))
        self.detail = nn.Parameter(torch.zeros(len(videos), directions, 3, device=device))
        self._white = even_samples(directions).to(device)

    def samples(self) -> LightSamples:
        """Its directions and their radiance."""
        return self._of(self.coarse[0], self.detail[0])

    def place(self, video: int) -> int:
        """Which of its lights is a video's; the first's for one that it was not fitted on."""
        return self.videos.index(video) if video in self.videos else 0

    def at(self, place: Int[Tensor, "1"]) -> LightSamples:
        """One of its lights, chosen on the device: a captured step may choose another each time."""
        return self._of(self.coarse.index_select(0, place)[0], self.detail.index_select(0, place)[0])

    def of_video(self, video: int) -> LightSamples:
        """The light of a video; the first's for one that it was not fitted on."""
        return self._of(self.coarse[self.place(video)], self.detail[self.place(video)])

    def _of(self, coarse: Float[Tensor, "9 3"], detail: Float[Tensor, "K 3"]) -> LightSamples:
        log_radiance = ONE * self._white.basis @ coarse + detail
        return replace(self._white, radiance=log_radiance.exp())

    def diffuse(self, normal: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Irradiance over pi at a unit normal, nothing in the way."""
        return self.samples().diffuse(normal)

    def specular(self, direction: Float[Tensor, "P 3"], roughness: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Radiance averaged over the GGX lobe about a mirror direction."""
        return self.samples().specular(direction, roughness)

    def to_map(self, height: int) -> Float[Tensor, "H W 3"]:
        """As an equirectangular picture of `height` rows, blended between directions."""
        return self.samples().to_map(height)

    def of_environment(self, envmap: Float[Tensor, "H W 3"]) -> LightSamples:
        """Another light (linear, equirectangular) for this avatar: reduced to directions, as this one is."""
        directions = GPU_DIRECTIONS if self.detail.device.type == "cuda" else CPU_DIRECTIONS
        return sample_environment(envmap, directions).to(self.detail.device)


def new_light(spec: LightSpec, device: torch.device) -> NeuralLight | ExplicitLight:
    """White light of radiance 1 of the kind that `spec` asks for."""
    if spec.kind == "explicit":
        return ExplicitLight(directions=spec.directions, videos=spec.videos, device=device)
    return NeuralLight(width=spec.width, depth=spec.depth, floor=spec.floor).to(device)
