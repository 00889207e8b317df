"""Time of a fit step as `flare fit` runs it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.fit.stage import StageRunner
from flare_cli.head.library import load_head
from flare_cli.subject.folder import load_subject

FRAMES = 40  # of the recording
WARM_UP = 2  # blocks


@dataclass(frozen=True, slots=True)
class StepTime:
    """Milliseconds per step over blocks of steps, of the last stage of a config."""

    triangles: int
    batch: int
    median: float
    least: float
    most: float


def fit_steps(
    subject: Path, config: Config, device: torch.device, steps: int
) -> Iterator[tuple[StepTime, StageRunner]]:
    """Time steps of the head as it is and divided once; the runner is handed over for a closer look."""
    stage = replace(config.stage[-1], subdivide_at=0, steps=max(config.stage[-1].steps, 2 * steps))
    config = replace(config, stage=(stage,))
    recording = load_subject(subject)
    track, _ = split_frames(recording, config.data.holdout, config.data.every)
    frames = load_frames(recording, track[:FRAMES], config.data.size)
    for subdivisions in (0, 1):
        torch.manual_seed(0)
        spec = stage_spec(config, stage, subdivisions=subdivisions)
        avatar = Avatar(load_head(track.head).to(device), track.shape, spec)
        runner = StageRunner(avatar, 0, frames, config, None)
        times = _blocks(runner, max(steps, (WARM_UP + 1) * runner.block))
        triangles = len(avatar.mesh.topology.faces)
        yield StepTime(triangles, stage.batch, statistics.median(times), min(times), max(times)), runner


def _blocks(runner: StageRunner, steps: int) -> list[float]:
    """Milliseconds per step of each block after the warm-up."""
    times: list[float] = []
    for start in range(0, steps - runner.block + 1, runner.block):
        before = time.perf_counter()
        runner.advance(start, start + runner.block)
        times.append(1e3 * (time.perf_counter() - before) / runner.block)
    return times[WARM_UP:]
