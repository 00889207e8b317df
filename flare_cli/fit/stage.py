"""One stage of a fit, step after step: eagerly on a CPU; on a GPU captured as a CUDA graph and replayed."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.picture import draw
from flare_cli.config.schema import Config
from flare_cli.errors import FitError
from flare_cli.fit.feed import BatchFeed
from flare_cli.fit.frames import Frames
from flare_cli.fit.losses import MeshGraph, Step, loss_terms, mesh_graph
from flare_cli.fit.optimiser import stage_optimiser
from flare_cli.fit.perceptual import PerceptualDistance
from flare_cli.fit.schedule import stage_schedule
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.workers import threads_for_blocks

GPU_BLOCK = 20  # steps between two looks at the losses: each look lets the GPU run dry
EAGER_STEPS = 3  # before a capture: kernels get compiled, the optimiser gets its state
SPARE_ROOM = 1.05  # over the pixels that the largest batch of frames covers when the room is measured
ROOM_UNIT = 1024  # round numbers of pixels make faster sums


@final
class StageRunner:
    """A stage's schedule, optimiser, mesh graph and, on a GPU, its captured step.

    A step reads its number, its pictures and its rates from tensors, and leaves its loss terms in one: nothing in it
    depends on the host, so a GPU can replay it.
    """

    def __init__(
        self, avatar: Avatar, index: int, frames: Frames, config: Config, perceptual: PerceptualDistance | None
    ) -> None:
        self.avatar, self.stage = avatar, config.stage[index]
        self.frames, self.config, self.perceptual = frames, config, perceptual
        self.rasterizer = choose_rasterizer(config.run.rasterizer, avatar.device)
        self.schedule = stage_schedule(
            self.stage,
            seed=config.run.seed,
            index=index,
            steps_before=sum(stage.steps for stage in config.stage[:index]),
            n_frames=len(frames),
            prior_halved_at=config.loss.prior_halved_at,
            device=avatar.device,
        )
        self.feed = BatchFeed(frames.pictures, self.schedule.chosen, avatar.device)
        track = frames.track.to(avatar.device)
        self.motion = avatar.motion(expression=track.expression, pose=track.pose, translation=track.translation)
        self.views = track.cameras().views()
        self.on_gpu = avatar.device.type == "cuda"
        self.captures = self.on_gpu and self.rasterizer.capturable and avatar.material.encoding.capturable
        self.block = GPU_BLOCK if self.on_gpu else 1
        self.stream = torch.cuda.Stream(avatar.device) if self.on_gpu else None
        self.at = torch.zeros(1, dtype=torch.long, device=avatar.device)
        self._prepare()

    def advance(self, step: int, until: int) -> list[dict[str, float]]:
        """Do the steps from `step` to before `until`, at most `block` of them; their weighted loss terms.

        The mesh is divided at the start of `step` only. Raises `FitError` naming the first term that is not finite.
        """
        assert 0 < until - step <= self.block
        if self.stage.subdivide_at and step == self.stage.subdivide_at:
            self.avatar.subdivide_mesh()
            self._prepare()
        self.at.fill_(step)
        with torch.cuda.stream(self.stream), threads_for_blocks():
            if self.stream is not None:
                self.stream.wait_stream(torch.cuda.default_stream(self.stream.device))
            for at in range(step, until):
                with self.feed.reading(at):
                    self._one_step()
        if self.stream is not None:
            torch.cuda.default_stream(self.stream.device).wait_stream(self.stream)
        done = self._values(step, until)
        if self.capacity is not None and self.found is not None and int(self.found) > self.capacity:
            self._make_room(int(self.found))
        return done

    def next_stop(self, step: int) -> int:
        """Where `advance` from `step` has to stop at the latest."""
        limits = [step + self.block, self.stage.steps]
        if step < self.stage.subdivide_at:
            limits.append(self.stage.subdivide_at)
        return min(limits)

    def _prepare(self) -> None:
        self.graph: MeshGraph = mesh_graph(self.avatar.mesh.topology.faces)
        self.optimiser = stage_optimiser(self.avatar, self.stage)
        self.names: list[str] = []
        self.history: Tensor | None = None
        self.found: Tensor | None = None
        self.capacity: int | None = None
        if self.on_gpu:
            self._make_room(self._largest_batch())

    def _make_room(self, pixels: int) -> None:
        self.capacity = math.ceil(SPARE_ROOM * pixels / ROOM_UNIT) * ROOM_UNIT
        self.eager_left = EAGER_STEPS
        self.replay: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def _largest_batch(self) -> int:
        """Foreground pixels of the batch that would have the most."""
        corrections, faces = self.avatar.corrections(), self.avatar.mesh.topology.faces
        counts: list[Tensor] = []
        for start in range(0, len(self.frames), self.stage.batch):
            part = slice(start, start + self.stage.batch)
            views = self.views[part]
            clip = views.clip(self.avatar.move(self.motion[part], corrections).vertices)
            seen = self.rasterizer.rasterize(clip, faces, views.height, views.width).triangle >= 0
            counts.append(seen.sum((1, 2)))
        largest = torch.cat(counts).topk(min(self.stage.batch, len(self.frames))).values
        return max(1, int(largest.sum()) * math.ceil(self.stage.batch / len(largest)))

    def _one_step(self) -> None:
        if not self.captures or self.eager_left > 0:
            self._work()
            if self.on_gpu:
                self.eager_left -= 1
            return
        if self.replay is None:
            self.replay = torch.cuda.CUDAGraph()
            # Other threads (a checkpoint, a preview) may use the GPU meanwhile.
            with torch.cuda.graph(self.replay, stream=self.stream, capture_error_mode="thread_local"):
                self._work()
        self.replay.replay()

    def _work(self) -> None:
        """One whole step: draw, compare, differentiate, move the parameters, note the losses."""
        row, avatar = self.schedule.row(self.at), self.avatar
        corrections = avatar.corrections()
        posed = avatar.move(self.motion[row.chosen], corrections)
        picture = draw(
            avatar,
            posed,
            self.views[row.chosen],
            light=avatar.light,
            rasterizer=self.rasterizer,
            capacity=self.capacity,
        )
        at = Step(avatar, corrections, picture, self.feed.batch(self.at), self.graph, row.ramps, row.seed)
        terms = loss_terms(at, self.config.loss, self.perceptual)
        values = torch.stack(list(terms.values()))
        self.optimiser.zero_grad()
        values.sum().backward()
        self.optimiser.step(row.decay)
        self._note(list(terms), values.detach(), picture.surface.pixels.found)

    def _note(self, names: list[str], values: Float[Tensor, " T"], found: Tensor | None) -> None:
        if self.history is None:
            self.names = names
            self.history = values.new_zeros(self.block, len(names))
            self.found = None if found is None else torch.zeros_like(found)
        self.history.index_copy_(0, self.at % self.block, values[None])
        if self.found is not None and found is not None:
            torch.maximum(self.found, found, out=self.found)
        self.at += 1

    def _values(self, step: int, until: int) -> list[dict[str, float]]:
        assert self.history is not None
        rows = self.history.tolist()
        done = [dict(zip(self.names, rows[at % self.block], strict=True)) for at in range(step, until)]
        for at, terms in enumerate(done, step):
            for name, value in terms.items():
                if not math.isfinite(value):
                    raise FitError(
                        f"the fit stopped: stage {self.stage.name!r}, step {at}: the {name} loss is {value}",
                        hint="lower the learning rates (for example --set stage.mesh_rate=5e-4) and run again",
                    )
        return done
