"""One step of a fit: draw a batch, compare it with the recording, differentiate, move what is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.picture import draw
from flare_cli.config.schema import LossSettings
from flare_cli.fit.feed import BatchFeed
from flare_cli.fit.loss.losses import LossInputs, MeshGraph, loss_terms
from flare_cli.fit.loss.perceptual import PerceptualDistance
from flare_cli.fit.optimiser import Adam
from flare_cli.fit.schedule import Schedule
from flare_cli.fit.track.training import TrainingTrack
from flare_cli.fit.track.unknowns import FrameUnknowns
from flare_cli.render.raster.interface import Rasterizer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What all steps of a stage on one mesh share. A step changes the avatar's parameters and the optimiser's state.

    `capacity` is the number of foreground pixels that a batch has room for; None makes room for as many as there are.
    """

    avatar: Avatar
    optimiser: Adam
    track: TrainingTrack
    unknowns: FrameUnknowns
    pictures: BatchFeed
    schedule: Schedule
    graph: MeshGraph
    weights: LossSettings
    perceptual: PerceptualDistance | None
    rasterizer: Rasterizer
    capacity: int | None


@dataclass(frozen=True, slots=True)
class StepLosses:
    """The weighted terms of a step by name, and how many pixels the avatar covers (None without a capacity)."""

    names: tuple[str, ...]
    values: Float[Tensor, " T"]
    pixels: Int[Tensor, ""] | None


def fit_step(context: StepContext, number: Int[Tensor, "1"]) -> StepLosses:
    """Do step `number` of a stage.

    Everything that differs from step to step is looked up by `number` on the device: a GPU can replay the launches of
    one step as the next.
    """
    avatar, row = context.avatar, context.schedule.row(number)

    # Draw.
    corrections = avatar.corrections()
    motion, projections = context.track.at(row.chosen)
    posed = avatar.move(motion, corrections)
    picture = draw(
        avatar,
        posed,
        projections,
        light=avatar.light.at(row.light),
        rasterizer=context.rasterizer,
        capacity=context.capacity,
    )

    # Compare.
    recorded = context.pictures.batch(number)
    picture = replace(picture, image=context.unknowns.exposed(picture.image, row.chosen))
    inputs = LossInputs(avatar, corrections, picture, recorded, context.graph, row.ramps, row.seed)
    terms = loss_terms(inputs, context.weights, context.perceptual) | context.unknowns.loss_terms()
    values = torch.stack(list(terms.values()))

    # Differentiate.
    context.optimiser.zero_grad()
    values.sum().backward()

    # Move.
    context.optimiser.step(row.decay)
    return StepLosses(tuple(terms), values.detach(), picture.surface.pixels.n_covered)
