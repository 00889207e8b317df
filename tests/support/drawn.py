"""One step of a fit, drawn: what the loss terms look at."""

from collections.abc import Callable

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.picture import draw
from flare_cli.config.schema import Config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.frames import Frames
from flare_cli.fit.loss.losses import LossInputs, mesh_graph
from flare_cli.fit.schedule import stage_schedule
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer


def unchanged(avatar: Avatar) -> None:
    """What `drawn_step` does to its avatar unless told otherwise."""


def drawn_step(
    frames: Frames,
    head: HeadModel,
    config: Config,
    *,
    capacity: int | None = None,
    change: Callable[[Avatar], None] = unchanged,
    subdivisions: int = 0,
) -> LossInputs:
    """Step 3 of a first stage with a new avatar, after `change`."""
    torch.manual_seed(0)
    avatar = Avatar(head, frames.track.shape, stage_spec(config, config.stage[0], subdivisions=subdivisions))
    change(avatar)
    schedule = stage_schedule(
        config.stage[0],
        seed=0,
        index=0,
        steps_before=900,
        light_of_frame=torch.zeros(6, dtype=torch.long),
        prior_halved_at=100,
        device=avatar.device,
    )
    row, track = schedule.row(torch.tensor([3])), frames.track
    motion = avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
    corrections = avatar.corrections()
    picture = draw(
        avatar,
        avatar.move(motion[row.chosen], corrections),
        track.cameras().projections()[row.chosen],
        light=avatar.light,
        rasterizer=choose_rasterizer(),
        capacity=capacity,
    )
    graph = mesh_graph(avatar.mesh.topology.faces)
    return LossInputs(avatar, corrections, picture, frames.pictures[row.chosen], graph, row.ramps, row.seed)
