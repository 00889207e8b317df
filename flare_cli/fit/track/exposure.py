"""What the camera did to each training frame beside the light: gains of red, green and blue."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.config.schema import ExposureSettings
from flare_cli.fit.track.residuals import bounded
from flare_cli.subject.track import Track


@final
class FrameExposure(nn.Module):
    """Exposure and white balance of N training frames: log gains, relative to their mean over the frames.

    A table in units of the deviation in `ExposureSettings`, a row for each frame. What all frames share is the light's:
    the mean stays out, so that level and tint of the light stay where its own priors hold them.
    """

    def __init__(self, track: Track, settings: ExposureSettings) -> None:
        super().__init__()
        self._settings = settings
        self.table = nn.Parameter(torch.zeros(len(track), 3, device=track.pose.device))

    def gains(self, chosen: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B 3"]:
        """Factors on the linear radiance of the `chosen` frames, by default of all. Differentiable by the table."""
        logs = bounded(self.table, self._settings.deviation)
        logs = logs - logs.mean(0)
        return (logs if chosen is None else logs.index_select(0, chosen)).exp()

    def loss_terms(self) -> dict[str, Tensor]:
        """The weighted term that holds the gains, by name."""
        return {"exposure_prior": self._settings.prior * self.table.square().sum(1).mean()}
