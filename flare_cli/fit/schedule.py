"""What a step depends on besides the avatar, for all steps of a stage at once: pictures, rates, ramps, seeds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.config.schema import StageSettings

SMOOTHNESS_RAMP, PERCEPTUAL_RAMP = 500, 600  # steps, as published (docs/method.md)


@dataclass(frozen=True, slots=True)
class Ramps:
    """Factors on loss terms that change from step to step."""

    prior: Float[Tensor, ""]
    smoothness: Float[Tensor, ""]
    perceptual: Float[Tensor, ""]


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a schedule: frames under one of the avatar's lights. `decay` is the factor on every learning rate."""

    chosen: Int[Tensor, " B"]
    light: Int[Tensor, "1"]
    decay: Float[Tensor, ""]
    ramps: Ramps
    seed: Int[Tensor, "1"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """N steps as tensors on the device that does the work: a captured step reads its row there.

    Everything random in a step depends on (seed, stage, step) alone, so a fit resumes exactly.
    """

    chosen: Int[Tensor, "N B"]
    lights: Int[Tensor, " N"]
    factors: Float[Tensor, "N 4"]
    seeds: Int[Tensor, " N"]

    def row(self, step: Int[Tensor, "1"]) -> Row:
        """The row of a step, whose number may change between replays."""
        decay, prior, smoothness, perceptual = self.factors.index_select(0, step)[0].unbind(0)
        return Row(
            self.chosen.index_select(0, step)[0],
            self.lights.index_select(0, step),
            decay,
            Ramps(prior, smoothness, perceptual),
            self.seeds.index_select(0, step),
        )


def stage_schedule(
    stage: StageSettings,
    *,
    seed: int,
    index: int,
    steps_before: int,
    light_of_frame: Int[Tensor, " F"],
    prior_halved_at: int,
    device: torch.device,
) -> Schedule:
    """The schedule of the `index`-th stage. Rates fall exponentially to `decay` times their start.

    `light_of_frame` says under which of the avatar's lights each frame was filmed; a step's are all under one.
    """
    generator = torch.Generator().manual_seed(seed * 1000 + index)
    chosen = torch.randint(len(light_of_frame), (stage.steps, stage.batch), generator=generator)
    lights = light_of_frame[chosen[:, 0]]
    if len(light_of_frame.unique()) > 1:
        chosen = _under_one_light(chosen, light_of_frame)
    seeds = torch.randint(2**31 - 1, (stage.steps,), generator=generator)
    stage_step = torch.arange(stage.steps, dtype=torch.float64)
    step = stage_step + steps_before
    factors = torch.stack(
        [
            stage.decay ** (stage_step / stage.steps),
            torch.where(step >= prior_halved_at, 0.5, 1.0).double(),
            (step / SMOOTHNESS_RAMP).clamp(max=1),
            (PERCEPTUAL_RAMP / (step + 1)).clamp(max=1),
        ],
        1,
    )
    return Schedule(chosen.to(device), lights.to(device), factors.float().to(device), seeds.int().to(device))


def _under_one_light(chosen: Int[Tensor, "N B"], light_of_frame: Int[Tensor, " F"]) -> Int[Tensor, "N B"]:
    """The frames at the same places among those under the light of each step's first; so each video has its share."""
    order = torch.argsort(light_of_frame, stable=True)
    counts = torch.bincount(light_of_frame)
    light = light_of_frame[chosen[:, :1]]
    within = order[(counts.cumsum(0) - counts)[light] + chosen * counts[light] // len(light_of_frame)]
    return torch.cat([chosen[:, :1], within[:, 1:]], 1)
