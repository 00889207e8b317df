"""How the head moves and where its cameras look in the training frames, for every step of a stage."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Motion
from flare_cli.fit.track.residuals import TrackResiduals
from flare_cli.render.camera import Projections
from flare_cli.subject.track import Track


@final
class TrainingTrack:
    """The track that an avatar is fitted by, as motion and projections.

    As it was given, both are worked out once. With `residuals` they are worked out in every step, for its frames.
    """

    def __init__(self, avatar: Avatar, given: Track, residuals: TrackResiduals | None) -> None:
        self._avatar, self._residuals = avatar, residuals
        given = given.to(avatar.device)
        self._motion, self._projections = self._motion_of(given), given.cameras().projections()

    def at(self, chosen: Int[Tensor, " B"]) -> tuple[Motion, Projections]:
        """The `chosen` frames, differentiable by the residuals."""
        if self._residuals is None:
            return self._motion[chosen], self._projections[chosen]
        refined = self._residuals.refined(chosen)
        projections = refined.cameras().projections() if self._residuals.zooms else self._projections[chosen]
        return self._motion_of(refined), projections

    @torch.no_grad()
    def all(self) -> tuple[Motion, Projections]:
        """All frames, as they are now."""
        if self._residuals is None:
            return self._motion, self._projections
        refined = self._residuals.refined()
        return self._motion_of(refined), refined.cameras().projections()

    def _motion_of(self, track: Track) -> Motion:
        return self._avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
