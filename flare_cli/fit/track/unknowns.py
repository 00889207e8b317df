"""What a fit finds beside the avatar: residuals of the track, and what the camera did to each frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.config.schema import Config
from flare_cli.fit.track.exposure import FrameExposure
from flare_cli.fit.track.residuals import TrackResiduals
from flare_cli.subject.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameUnknowns:
    """Unknowns of the training frames; None where what was given is kept."""

    track: TrackResiduals | None = None
    exposure: FrameExposure | None = None

    @classmethod
    def of(cls, given: Track, config: Config) -> FrameUnknowns:
        """What `config` asks for, at its start, on the device of the `given` track."""
        return cls(
            track=TrackResiduals(given, config.track) if config.track.refine else None,
            exposure=FrameExposure(given, config.exposure) if config.exposure.refine else None,
        )

    def parts(self) -> dict[str, nn.Module]:
        """The modules that there are, by the names that they have in a checkpoint."""
        named: dict[str, nn.Module | None] = {"track": self.track, "exposure": self.exposure}
        return {name: module for name, module in named.items() if module is not None}

    def rates(self, config: Config) -> list[tuple[nn.Module, float]]:
        """The modules with their learning rates."""
        rates = {"track": config.track.rate, "exposure": config.exposure.rate}
        return [(module, rates[name]) for name, module in self.parts().items()]

    def exposed(self, image: Float[Tensor, "B H W 4"], chosen: Int[Tensor, " B"]) -> Float[Tensor, "B H W 4"]:
        """Drawn radiance and coverage of the `chosen` frames as their cameras took them."""
        if self.exposure is None:
            return image
        gains = self.exposure.gains(chosen)
        return image * torch.cat([gains, torch.ones_like(gains[:, :1])], 1)[:, None, None]

    def loss_terms(self) -> dict[str, Tensor]:
        """The weighted terms that hold the unknowns, by name."""
        terms: dict[str, Tensor] = {}
        for module in (self.track, self.exposure):
            terms |= {} if module is None else module.loss_terms()
        return terms

    def tracked(self, given: Track) -> Track:
        """The track as it is now, in host memory."""
        return given if self.track is None else self.track.track()
