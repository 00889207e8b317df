"""`flare fit`: subject folder -> run folder with an avatar."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from flare_cli.avatar.storage import save_avatar
from flare_cli.config.loading import config_to_dict, load_config
from flare_cli.config.schema import Config
from flare_cli.data.folder_lock import alone_in
from flare_cli.errors import AvatarError, ConfigError, SubjectError
from flare_cli.fit.checkpoint import CHECKPOINT
from flare_cli.fit.frames import fitted_size, load_frames, split_frames
from flare_cli.fit.loop import FitProgress, fit_avatar
from flare_cli.fit.loss.perceptual import perceptual_status
from flare_cli.fit.memory import limit_vram, within_vram
from flare_cli.fit.run_folder import AVATAR_FILE, TRACK_FOLDER, save_refined_track
from flare_cli.fit.seen import shown_by
from flare_cli.fit.track.calibration import calibrated
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.backend import choose_encoding, choose_rasterizer
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.previews import Previews
from flare_cli.show.viewing.address import Listening, OnOpen
from flare_cli.subject.folder import Subject, load_subject, replace_track
from flare_cli.subject.track import Track

LEAST_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What `flare fit` was asked. `config` None picks `default` on a GPU and `cpu` without one.

    `vram` is the GPU memory in GiB that the fit may take: batches become smaller if they have to. `write_track` puts a
    refined track in the place of the subject's own. `view` says where a page listens that shows the fit as it goes on.
    """

    subject: Path
    run: Path
    config: str | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    fresh: bool = False
    vram: float | None = None
    write_track: bool = False
    view: Listening | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a fit made, and what it cost. `resumed` tells that it went on from a checkpoint.

    `track` is where the refined track is, None where the given one was kept. `notes` say which settings were changed to
    fit the GPU; its peak is None on the CPU.
    """

    avatar: Path
    track: Path | None
    config: str
    device: str
    training_frames: int
    held_out_frames: int
    seconds: float
    steps: int
    resumed: bool
    peak_gpu_memory_bytes: int | None
    perceptual: str
    preview: Path
    notes: list[str]


@gpu_memory(
    "nothing is lost: close other programs that use the GPU and run the same command again, or start anew with less:"
    " --fresh --vram 8 (GB), or --fresh --set data.size=384"
)
def fit(request: FitRequest, progress: ProgressCallback, on_open: OnOpen | None = None) -> FitResult:
    """Fit an avatar to a subject and write it to the run folder. `on_open` is told where the page is, if there is one.

    A fit that was cut off goes on from its last checkpoint unless `fresh`. A finished avatar stays until the one of a
    fresh fit is complete, and a fresh fit that was cut off goes on as any other: without `fresh`. Raises `FlareError`s
    for everything that is wrong with the subject, the config or the machine, before anything is written.
    """
    device = choose_device(request.device)
    name = request.config or ("default" if device.type == "cuda" else "cpu")
    config = load_config(name, request.overrides)
    if request.write_track and not config.track.refine:
        raise ConfigError("--write-track: this fit does not refine the track", hint="add --set track.refine=true")
    rasterizer = choose_rasterizer(config.run.rasterizer, device)
    choose_encoding(config.run.hash_grid, device, levels=1, log2_entries=4)
    subject = load_subject(request.subject)
    head = load_head(subject.track.head)
    subject.track.of_head(head)
    training, held_out = _split(subject, config)
    config, notes = _within_vram(config, training, request.vram, device)
    folder = request.run
    finished = folder / AVATAR_FILE
    frames = load_frames(subject, training, config.data.size, lambda done, n: progress("load", done, n))
    header = {"subject": str(request.subject.resolve()), "training_frames": training.frames.tolist()}
    header["held_out_frames"] = held_out.frames.tolist()
    with (
        alone_in(folder),
        Previews(folder / "preview", frames, device, rasterizer) as previews,
        _watched(request, replace(subject, track=training), rasterizer, on_open) as watch,
    ):
        resumed = not request.fresh and _is_unfinished(folder)
        fitted = fit_avatar(
            frames,
            head,
            config,
            folder,
            device=device,
            on_steps=_told(progress, watch),
            on_preview=lambda avatar, track, step: previews.draw(avatar, track, f"step_{step:06d}"),
            resume=not request.fresh,
        )
        last = previews.draw(fitted.avatar, fitted.track, "final")
        fitted.avatar.remember(**asdict(shown_by(replace(frames, track=fitted.track), fitted.avatar, rasterizer)))
        track = _write_track(request, subject, head, fitted.track if config.track.refine else None)
        save_avatar(finished, fitted.avatar, {**header, "config": config_to_dict(config), "seconds": fitted.seconds})
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return FitResult(
        avatar=finished,
        track=track,
        config=name,
        device=str(device),
        training_frames=len(training),
        held_out_frames=len(held_out),
        seconds=fitted.seconds,
        steps=sum(stage.steps for stage in config.stage),
        resumed=resumed,
        peak_gpu_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        perceptual=perceptual_status() if config.loss.perceptual > 0 else "off in the config",
        preview=last,
        notes=notes + fitted.notes,
    )


def _split(subject: Subject, config: Config) -> tuple[Track, Track]:
    """The training frames and those that are held out. Raises `SubjectError` if there are too few to fit."""
    training, held_out = split_frames(subject, config.data.holdout, config.data.every)
    if len(training) < LEAST_FRAMES:
        raise SubjectError(
            f"{subject.folder} has {len(training)} training frame(s), a fit needs at least {LEAST_FRAMES}",
            hint="record a longer video, or lower data.holdout and data.every",
        )
    return training, held_out


OnSteps: TypeAlias = Callable[[FitProgress], None]


@contextmanager
def _watched(
    request: FitRequest, training: Subject, rasterizer: Rasterizer, on_open: OnOpen | None
) -> Generator[OnSteps | None]:
    """What the page that was asked for is told of the steps; None without one."""
    if request.view is None:
        yield None
        return
    from flare_cli.show.filming.performance import recorded_performance
    from flare_cli.show.viewing.watch import FitState, Watch

    own = recorded_performance(training)
    with Watch(request.run.resolve().name, own, rasterizer, request.view) as watch:
        if on_open is not None:
            on_open(watch.address)
        yield lambda at: watch.attend(at.avatar, FitState(stage=at.stage, step=at.step, total=at.total, loss=at.loss))


def _told(progress: ProgressCallback, watch: OnSteps | None) -> OnSteps:
    """Who hears of the steps: progress, and a page if there is one, which then gets its pictures."""

    def on_steps(at: FitProgress) -> None:
        progress(f"fit: {at.stage}, loss {at.loss:.4f}", at.step, at.total)
        if watch is not None:
            watch(at)

    return on_steps


def _write_track(request: FitRequest, subject: Subject, head: HeadModel, refined: Track | None) -> Path | None:
    """Write the refined track, and what it shows about all other frames, where it was asked for; its folder.

    None, for a fit by the given track, removes that of an earlier fit.
    """
    if refined is None:
        shutil.rmtree(request.run / TRACK_FOLDER, ignore_errors=True)
        return None
    camera = subject.track.camera
    track = calibrated(subject.track, refined.resized(camera.height, camera.width), head)
    if request.write_track:
        replace_track(subject, track, by=str(request.run.resolve()))
    return save_refined_track(request.run, subject, track, refined.frames.tolist())


def _is_unfinished(folder: Path) -> bool:
    """Whether there is a fit to go on with. Raises `AvatarError` if there is a finished one and no other."""
    # A checkpoint beside a finished avatar is of a fresh fit that was cut off.
    if (folder / CHECKPOINT).is_file():
        return True
    if (folder / AVATAR_FILE).is_file():
        raise AvatarError(
            f"{folder} already holds a finished avatar",
            hint="choose another folder with -o, or start again with --fresh",
        )
    return False


def _within_vram(config: Config, track: Track, gib: float | None, device: torch.device) -> tuple[Config, list[str]]:
    """The config that keeps to `gib` GiB of GPU memory, None for as much as there is, and what was changed."""
    if gib is None:
        return config, []
    if device.type != "cuda":
        raise ConfigError(
            "--vram is for a GPU, this fit runs on the CPU", hint="leave --vram out, or use --device cuda"
        )
    limit_vram(gib, device)
    return within_vram(config, fitted_size(track, config.data.size), gib)
