"""The fit: stages as data on one loop. Subject frames in, avatar out; checkpoints and metrics on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.loading import config_to_dict
from flare_cli.config.schema import Config
from flare_cli.data.atomic import named, write_text_whole
from flare_cli.errors import FitError
from flare_cli.fit.avatar_spec import lit_videos, stage_spec
from flare_cli.fit.checkpoint import CHECKPOINT, CheckpointWriter, Position, load_checkpoint, part_of
from flare_cli.fit.frames import Frames
from flare_cli.fit.hanging_hair import find_hanging_hair
from flare_cli.fit.loss.perceptual import PerceptualDistance, vgg16_weights
from flare_cli.fit.stage import StageRunner
from flare_cli.fit.track.unknowns import FrameUnknowns
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.subject.track import Track

CONFIG = "config.toml"
LOG = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """What the loop reports, after each step on a CPU, on a GPU after each block of steps.

    The avatar is the one that is fitted, between two steps; `terms` are the weighted loss terms of the last one.
    """

    avatar: Avatar
    stage: str
    step: int
    total: int
    terms: dict[str, float]

    @property
    def loss(self) -> float:
        """The loss of the last step."""
        return sum(self.terms.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit ends in: the avatar, the track of the training frames that it was fitted by, and the seconds spent.

    `exposure` are the gains of these frames, red, green and blue, where they were found. `notes` say what broke on the
    way, and where the fit went on.
    """

    avatar: Avatar
    track: Track
    exposure: Float[Tensor, "N 3"] | None
    seconds: float
    notes: list[str]


def fit_avatar(
    frames: Frames,
    head: HeadModel,
    config: Config,
    folder: Path,
    *,
    device: torch.device,
    on_steps: Callable[[FitProgress], None],
    on_preview: Callable[[Avatar, Track, int], object],
    resume: bool,
) -> Fitted:
    """Fit an avatar to `frames`, which stay in host memory, on `device`; refine their track where `config` asks for it.

    With `resume` a checkpoint in `folder` is continued exactly: the random numbers of a step depend on the step alone.
    Without, it is removed. One that belongs to another fit raises `AvatarError` before anything is written. Where a
    loss breaks, the fit goes on from its last good state with smaller steps. Raises `FitError` naming stage, step and
    term if that does not help.
    """
    avatar, position, restored = _begin(frames, head, config, folder, device, resume)
    unknowns = _unknowns(frames.track.to(device), config, restored)
    perceptual = _perceptual_distance(config, device)
    done = sum(stage.steps for stage in config.stage[: position.stage]) + position.step
    total = sum(stage.steps for stage in config.stage)
    started = saved = time.monotonic()
    notes: list[str] = []
    with (
        named(folder / LOG),
        (folder / LOG).open("a", encoding="utf-8") as log,
        CheckpointWriter(folder / CHECKPOINT, config, frames.track) as checkpoints,
    ):
        for index in range(position.stage, len(config.stage)):
            stage = config.stage[index]
            first = position.step if index == position.stage else 0
            runner = _begin_stage(avatar, index, first, frames, config, perceptual, unknowns, restored)
            restored = {}
            step, previews = first, config.run.preview_every
            while step < stage.steps:
                until = min(runner.next_stop(step), step + previews - done % previews if previews else stage.steps)
                block_terms, until = _advanced(runner, step, until)
                for i, terms in enumerate(block_terms, 1):
                    if (done + i) % 10 == 0 or done + i == total:
                        log.write(json.dumps({"stage": stage.name, "step": step + i - 1, **terms}) + "\n")
                if time.monotonic() - saved >= config.run.checkpoint_seconds and done + len(block_terms) < total:
                    at = Position(stage=index, step=until, seconds=position.seconds + time.monotonic() - started)
                    checkpoints.save(avatar, unknowns, runner.optimiser, at)
                    log.flush()
                    saved = time.monotonic()
                done += until - step
                step = until
                if block_terms:
                    last = block_terms[-1]
                    on_steps(FitProgress(avatar=avatar, stage=stage.name, step=done, total=total, terms=last))
                if previews and done % previews == 0 and done < total:
                    on_preview(avatar, unknowns.tracked(frames.track), done)
            runner.learn_visibility()
            notes += runner.went_back
    seconds = position.seconds + time.monotonic() - started
    exposure = None if unknowns.exposure is None else unknowns.exposure.gains().detach().cpu()
    return Fitted(avatar=avatar, track=unknowns.tracked(frames.track), exposure=exposure, seconds=seconds, notes=notes)


def _advanced(runner: StageRunner, step: int, until: int) -> tuple[list[dict[str, float]], int]:
    """Loss terms of the steps from `step` to before `until`, and where to go on: back, without terms, if they broke."""
    try:
        return runner.advance(step, until), until
    except FitError as error:
        return [], runner.go_back(error)


def _begin_stage(
    avatar: Avatar,
    index: int,
    first: int,
    frames: Frames,
    config: Config,
    perceptual: PerceptualDistance | None,
    unknowns: FrameUnknowns,
    restored: dict[str, Tensor],
) -> StageRunner:
    """What runs a stage from step `first` on; its optimiser as it was `restored`, if it was.

    Another encoding than the last stage's begins with a new appearance.
    """
    spec = stage_spec(config, config.stage[index])
    if first == 0 and spec.material.encoding != avatar.spec.material.encoding:
        torch.manual_seed(config.run.seed + index)
        avatar.restart_appearance(spec.material)
    avatar.spec = replace(avatar.spec, f0=spec.f0)
    runner = StageRunner(avatar, index, frames, config, perceptual, unknowns)
    if restored:
        runner.optimiser.restore(restored)
    return runner


def _perceptual_distance(config: Config, device: torch.device) -> PerceptualDistance | None:
    """What compares features of pictures; None where the config leaves it out or its network is not at hand."""
    weights = vgg16_weights()
    return PerceptualDistance(weights).to(device) if weights and config.loss.perceptual > 0 else None


def _unknowns(given: Track, config: Config, restored: dict[str, Tensor]) -> FrameUnknowns:
    """What is found beside the avatar, as a checkpoint left it."""
    unknowns = FrameUnknowns.of(given, config)
    for name, module in unknowns.parts().items():
        if restored:
            module.load_state_dict(part_of(restored, name))
    return unknowns


def _begin(
    frames: Frames, head: HeadModel, config: Config, folder: Path, device: torch.device, resume: bool
) -> tuple[Avatar, Position, dict[str, Tensor]]:
    """The avatar, where its fit is, and the optimiser's state. The folder is made ready when nothing was refused."""
    torch.manual_seed(config.run.seed)
    checkpoint = folder / CHECKPOINT
    if resume and checkpoint.is_file():
        start = load_checkpoint(checkpoint, config, frames.track, device)
    else:
        first = stage_spec(config, config.stage[0], videos=lit_videos(config, frames.track))
        head = head.to(device)
        if config.mesh.hanging_hair:
            head = with_hanging_hair(
                head, find_hanging_hair(frames, head, choose_rasterizer(config.run.rasterizer, device))
            )
        start = Avatar(head, frames.track.shape, first), Position(), {}
    if not resume:
        checkpoint.unlink(missing_ok=True)
        (folder / LOG).unlink(missing_ok=True)
    write_text_whole(folder / CONFIG, tomli_w.dumps(config_to_dict(config)))
    return start
