"""Refining a track on its own pictures with a finished avatar, as others publish scores of test frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config, StageSettings
from flare_cli.fit.frames import Frames
from flare_cli.fit.stage import StageRunner
from flare_cli.fit.track.residuals import TrackResiduals
from flare_cli.fit.track.unknowns import FrameUnknowns
from flare_cli.subject.track import Track

# How often each frame is looked at. Not tuned.
LOOKS = 40


def refined_on_pixels(
    avatar: Avatar, frames: Frames, config: Config, progress: Callable[[int, int], None] | None = None
) -> Track:
    """The track of `frames` as their pictures ask for it, by the losses of a fit; avatar and camera stand still."""
    batch = config.stage[-1].batch
    steps = -(-LOOKS * len(frames) // batch)
    stage = StageSettings(name="refine the track", steps=steps, batch=batch, trains=(), decay=0.1)
    settings = replace(config.track, refine=True, focal_length=0.0)
    residuals = TrackResiduals(frames.track.to(avatar.device), settings)
    frozen = replace(config, track=settings, stage=(stage,))
    runner = StageRunner(avatar, 0, frames, frozen, None, FrameUnknowns(track=residuals))
    step = 0
    while step < steps:
        until = runner.next_stop(step)
        runner.advance(step, until)
        step = until
        if progress is not None:
            progress(step, steps)
    return residuals.track()
