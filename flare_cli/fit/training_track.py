"""How the head moves and where its cameras look in the training frames, for every step of a stage."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Motion
from flare_cli.fit.track_residuals import TrackResiduals
from flare_cli.render.camera import Projections
from flare_cli.subject.track import Track


@final
class TrainingTrack:
    """The track that an avatar is fitted by, as motion and projections.

    As it was given, both are worked out once. With `residuals` they are worked out in every step, for its frames.
    """

    def __init__(self, avatar: Avatar, given: Track, residuals: TrackResiduals | None) -> None:
        self._avatar, self._residuals = avatar, residuals
        self._given = self._of(given.to(avatar.device))

    def at(self, chosen: Int[Tensor, " B"]) -> tuple[Motion, Projections]:
        """The `chosen` frames, differentiable by the residuals."""
        if self._residuals is not None:
            return self._of(self._residuals.refined(chosen))
        motion, projections = self._given
        return motion[chosen], projections[chosen]

    @torch.no_grad()
    def all(self) -> tuple[Motion, Projections]:
        """All frames, as they are now."""
        return self._given if self._residuals is None else self._of(self._residuals.refined())

    def loss_terms(self) -> dict[str, Tensor]:
        """What holds the residuals, by name; nothing for a given track."""
        return {} if self._residuals is None else self._residuals.loss_terms()

    def _of(self, track: Track) -> tuple[Motion, Projections]:
        motion = self._avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
        return motion, track.cameras().projections()
