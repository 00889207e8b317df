"""One stage of a fit: its schedule, optimiser and room for pixels, and its steps in blocks."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config
from flare_cli.errors import FitError
from flare_cli.fit.eye_whites import with_eye_whites
from flare_cli.fit.feed import BatchFeed
from flare_cli.fit.frames import Frames
from flare_cli.fit.loss.losses import MeshGraph, mesh_graph
from flare_cli.fit.loss.perceptual import PerceptualDistance
from flare_cli.fit.optimiser import Adam, stage_optimiser
from flare_cli.fit.replay import Replay
from flare_cli.fit.schedule import stage_schedule
from flare_cli.fit.step import StepContext, StepLosses, fit_step
from flare_cli.fit.track.training import TrainingTrack
from flare_cli.fit.track.unknowns import FrameUnknowns
from flare_cli.fit.watchdog import MOST_RETURNS, LastGood, LossWatch
from flare_cli.parallel.blocks import threads_for_blocks
from flare_cli.render.backend import choose_rasterizer

GPU_BLOCK = 20  # steps between two looks at the losses: each look makes the GPU wait for the host. Not tuned.
# Room for pixels, as a multiple of what the largest batch covers when that is measured: the mesh moves while it is
# fitted. Where it is too little a step is captured anew with more, so it decides speed alone. Chosen by eye.
SPARE_ROOM = 1.05
ROOM_UNIT = 1024  # pixels: a multiple of `mlp.FOLD`, for which sums over the pixels are faster


@final
class StageRunner:
    """Runs the steps of a stage. A step reads its number from a tensor and leaves its losses in one.

    `unknowns` of the frames are found beside the avatar.
    """

    def __init__(
        self,
        avatar: Avatar,
        index: int,
        frames: Frames,
        config: Config,
        perceptual: PerceptualDistance | None,
        unknowns: FrameUnknowns | None = None,
    ) -> None:
        self.avatar, self.stage = avatar, config.stage[index]
        self.frames, self.config, self.perceptual = frames, config, perceptual
        self.unknowns = unknowns or FrameUnknowns()
        self.rasterizer = choose_rasterizer(config.run.rasterizer, avatar.device)
        self.schedule = stage_schedule(
            self.stage,
            seed=config.run.seed,
            index=index,
            steps_before=sum(stage.steps for stage in config.stage[:index]),
            light_of_frame=_light_of_frame(avatar, frames),
            prior_halved_at=config.loss.prior_halved_at,
            device=avatar.device,
        )
        if config.loss.level_by_eyes > 0:
            frames = with_eye_whites(frames, avatar.head, self.rasterizer)
        self.feed = BatchFeed(frames.pictures, self.schedule.chosen, avatar.device)
        self.track = TrainingTrack(avatar, frames.track, self.unknowns.track)
        self.on_gpu = avatar.device.type == "cuda"
        self.block = GPU_BLOCK if self.on_gpu else 1
        self.stream = torch.cuda.Stream(avatar.device) if self.on_gpu else None
        self.number = torch.zeros(1, dtype=torch.long, device=avatar.device)
        self.watch, self.went_back = LossWatch(self.stage.name), list[str]()
        self._prepare()

    def advance(self, step: int, until: int) -> list[dict[str, float]]:
        """Do the steps from `step` to before `until`, at most `block` of them; their weighted loss terms.

        The mesh is divided at the start of `step` only. Raises `FitError` naming the first term that breaks: `go_back`.
        """
        assert 0 < until - step <= self.block
        if self.stage.subdivide_at and step == self.stage.subdivide_at:
            self.avatar.subdivide_mesh()
            self._prepare()
        if step % self.config.light.visibility_every == 0:
            self.learn_visibility()
        self.last_good.keep(step)
        self.number.fill_(step)
        with torch.cuda.stream(self.stream), threads_for_blocks():
            if self.stream is not None:
                self.stream.wait_stream(torch.cuda.default_stream(self.stream.device))
            for number in range(step, until):
                with self.feed.reading(number):
                    self.replay(self._step)
        if self.stream is not None:
            torch.cuda.default_stream(self.stream.device).wait_stream(self.stream)
        losses = self._losses(step, until)
        if self.context.capacity is not None and self.most_pixels is not None:
            covered = int(self.most_pixels)
            if covered > self.context.capacity:
                self._make_room(covered)
        return losses

    def go_back(self, error: FitError) -> int:
        """Undo the steps since the last good state, which `error` broke; where to go on, with smaller steps.

        Raises `error` if that was too often.
        """
        if len(self.went_back) == MOST_RETURNS:
            raise error
        step = self.last_good.put_back(error)
        self.went_back.append(f"{error.message}; went on from step {step} with smaller steps")
        self.watch.forget()
        return step

    def next_stop(self, step: int) -> int:
        """Where `advance` from `step` has to stop at the latest."""
        every = self.config.light.visibility_every
        limits = [step + self.block, self.stage.steps, (step // every + 1) * every]
        if step < self.stage.subdivide_at:
            limits.append(self.stage.subdivide_at)
        return min(limits)

    def learn_visibility(self) -> None:
        """Trace what the vertices see of the light, on the mesh as it is now; nothing for an avatar that is frozen.

        Not on one that a step has broken: Warp's rays would end the process. The loss of the next step says so instead.
        """
        if not self.stage.trains or not torch.isfinite(self.avatar.mesh.offsets).all():
            return
        light = self.config.light
        motion, _ = self.track.all()
        self.avatar.learn_visibility(motion, poses=light.visibility_poses, rays=light.visibility_rays)

    def _prepare(self) -> None:
        """Begin on a mesh that is new: its neighbours, the optimiser's state, room for the losses and the pixels."""
        self.graph: MeshGraph = mesh_graph(self.avatar.mesh.topology.faces)
        self.optimiser: Adam = stage_optimiser(self.avatar, self.stage, *self.unknowns.rates(self.config))
        self.last_good = LastGood({"avatar": self.avatar, **self.unknowns.parts()}, self.optimiser)
        self.watch.forget()
        self.names: tuple[str, ...] = ()
        self.history: Tensor | None = None
        self.most_pixels: Tensor | None = None
        self._make_room(self._largest_batch() if self.on_gpu else None)

    def _make_room(self, pixels: int | None) -> None:
        """Make room for this many foreground pixels a batch (None: for any number), and forget the captured step."""
        self.context = StepContext(
            avatar=self.avatar,
            optimiser=self.optimiser,
            track=self.track,
            unknowns=self.unknowns,
            pictures=self.feed,
            schedule=self.schedule,
            graph=self.graph,
            weights=self.config.loss,
            perceptual=self.perceptual,
            rasterizer=self.rasterizer,
            capacity=None if pixels is None else math.ceil(SPARE_ROOM * pixels / ROOM_UNIT) * ROOM_UNIT,
        )
        captures = self.rasterizer.capturable and self.avatar.material.encoding.capturable
        self.replay = Replay(captures=captures, stream=self.stream)

    @torch.no_grad()
    def _largest_batch(self) -> int:
        """Foreground pixels of the batch that would have the most."""
        corrections, faces = self.avatar.corrections(), self.avatar.mesh.topology.faces
        all_motion, all_projections = self.track.all()
        counts: list[Tensor] = []
        for start in range(0, len(self.frames), self.stage.batch):
            batch = slice(start, start + self.stage.batch)
            projections = all_projections[batch]
            clip = projections.clip(self.avatar.move(all_motion[batch], corrections).vertices)
            covered = self.rasterizer.rasterize(clip, faces, projections.height, projections.width).triangle >= 0
            counts.append(covered.sum((1, 2)))
        largest = torch.cat(counts).topk(min(self.stage.batch, len(self.frames))).values
        return max(1, int(largest.sum()) * math.ceil(self.stage.batch / len(largest)))

    def _step(self) -> None:
        """One step, its losses noted on the device, and the number of the next."""
        losses = fit_step(self.context, self.number)
        self._note(losses)
        self.number += 1

    def _note(self, losses: StepLosses) -> None:
        if self.history is None:
            self.names = losses.names
            self.history = losses.values.new_zeros(self.block, len(losses.names))
            self.most_pixels = None if losses.pixels is None else torch.zeros_like(losses.pixels)
        self.history.index_copy_(0, self.number % self.block, losses.values[None])
        if self.most_pixels is not None and losses.pixels is not None:
            torch.maximum(self.most_pixels, losses.pixels, out=self.most_pixels)

    def _losses(self, step: int, until: int) -> list[dict[str, float]]:
        """The noted terms of these steps. Raises `FitError` naming the first that breaks."""
        assert self.history is not None
        rows = self.history.tolist()
        terms_of_steps = [
            dict(zip(self.names, rows[number % self.block], strict=True)) for number in range(step, until)
        ]
        for number, terms in enumerate(terms_of_steps, step):
            self.watch.check(number, terms)
        return terms_of_steps


def _light_of_frame(avatar: Avatar, frames: Frames) -> Int[Tensor, " F"]:
    """Under which of the avatar's lights each frame was filmed."""
    video = frames.track.video
    if video is None:
        return torch.zeros(len(frames), dtype=torch.long)
    return torch.tensor([avatar.light.place(number) for number in video.tolist()])
