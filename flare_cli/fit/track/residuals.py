"""Residuals of the track: how far pose, expression, translation and focal length are from what was given."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.config.schema import TrackSettings
from flare_cli.subject.track import Track

# Residuals stay within so many of their deviations: beyond, a frame was not tracked but lost. Not tuned.
REACH = 4.0
# Seconds within which one training frame still tells how the head moves in the next. Not tuned.
NEIGHBOURS = 0.2
PER_FRAME = ("pose", "expression", "translation")


@final
class TrackResiduals(nn.Module):
    """What a fit adds to the given track of its N training frames, and to the log focal lengths of its cameras.

    The tables are plain parameters, a row for each frame, in units of the deviations in `TrackSettings`; `bounded`
    turns them into residuals. They start at zero: the track as it was given.
    """

    def __init__(self, given: Track, settings: TrackSettings) -> None:
        super().__init__()
        self._given, self._settings = given, settings
        self.pose = nn.Parameter(torch.zeros_like(given.pose))
        self.expression = nn.Parameter(torch.zeros_like(given.expression))
        self.translation = nn.Parameter(torch.zeros_like(given.translation))
        self.focal_length = nn.Parameter(torch.zeros_like(given.camera.intrinsics[:, 0]))
        self._middles = _middles(given)

    @property
    def zooms(self) -> bool:
        """Whether the cameras are refined too."""
        return self._settings.focal_length > 0

    def refined(self, chosen: Int[Tensor, " B"] | None = None) -> Track:
        """The refined track of the `chosen` frames, by default of all. Differentiable by the tables."""
        given, settings, camera = self._given, self._settings, self._given.camera
        tables = {name: getattr(self, name) for name in PER_FRAME}
        if chosen is not None:
            given, tables = given[chosen], {name: table.index_select(0, chosen) for name, table in tables.items()}
        zoom = bounded(self.focal_length, settings.focal_length).exp()
        focal = camera.intrinsics[:, :2] * zoom[:, None]
        return replace(
            given,
            pose=given.pose + bounded(tables["pose"], settings.rotation),
            expression=given.expression + bounded(tables["expression"], settings.expression),
            translation=given.translation + bounded(tables["translation"], settings.translation),
            camera=replace(camera, intrinsics=torch.cat([focal, camera.intrinsics[:, 2:]], 1)),
        )

    @torch.no_grad()
    def track(self) -> Track:
        """The refined track of all frames as it is now, in host memory."""
        return self.refined().to("cpu")

    def loss_terms(self) -> dict[str, Tensor]:
        """The weighted terms that hold the residuals, by name: sums over the parameters, means over the frames."""
        settings = self._settings
        residuals = torch.cat([getattr(self, name).flatten(1) for name in PER_FRAME], 1)
        size = residuals.square().sum(1).mean() + self.focal_length.square().sum()
        terms = {"track_prior": settings.prior * size}
        if settings.smoothness > 0:
            bends = self._bends(residuals).square().sum() / len(residuals)
            terms["track_smoothness"] = settings.smoothness * bends
        return terms

    def _bends(self, values: Float[Tensor, "N K"]) -> Float[Tensor, "M K"]:
        """Second differences in time."""
        before, middle, after = (values.index_select(0, self._middles + shift) for shift in (-1, 0, 1))
        return before - 2 * middle + after


def bounded(table: Float[Tensor, "*n"], deviation: float) -> Float[Tensor, "*n"]:
    """Residuals of a table in units of their deviation: the same near 0, within REACH deviations everywhere."""
    return deviation * REACH * torch.tanh(table / REACH)


def _middles(track: Track) -> Int[Tensor, " M"]:
    """Frames as far from the one before as from the one after, and soon after it, all of one video."""
    gaps = track.frames.diff()
    whole = (gaps[:-1] == gaps[1:]) & (gaps[:-1] <= NEIGHBOURS * track.fps)
    if track.video is not None:
        whole &= (track.video[:-2] == track.video[1:-1]) & (track.video[1:-1] == track.video[2:])
    return torch.nonzero(whole)[:, 0] + 1
