"""`flare fit`: subject folder -> run folder with an avatar."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tomli_w
import torch

from flare_cli.apps.progress import ProgressCallback
from flare_cli.apps.rendering import comparison_sheet
from flare_cli.apps.runs import AVATAR_FILE, choose_device
from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.storage import save_avatar
from flare_cli.config.loading import config_to_dict, load_config
from flare_cli.data.image import write_png
from flare_cli.errors import AvatarError, FitError, SubjectError
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.fit.loop import CHECKPOINT, LOG, Progress, fit_avatar
from flare_cli.fit.perceptual import perceptual_status
from flare_cli.head.library import load_head
from flare_cli.subject.folder import load_subject

LEAST_FRAMES = 4
PREVIEWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What `flare fit` was asked. `config` None picks `default` on a GPU and `cpu` without one."""

    subject: Path
    run: Path
    config: str | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a fit made, and what it cost. `resumed` tells that it went on from a checkpoint."""

    avatar: Path
    config: str
    device: str
    training_frames: int
    held_out_frames: int
    seconds: float
    steps: int
    resumed: bool
    peak_memory: int
    perceptual: str
    preview: Path


def fit(request: FitRequest, progress: ProgressCallback) -> FitResult:
    """Fit an avatar to a subject and write it to the run folder.

    A fit that was cut off goes on from its last checkpoint unless `fresh`. Raises `FlareError`s for everything that is
    wrong with the subject, the config or the machine, before anything is written.
    """
    device = choose_device(request.device)
    name = request.config or ("default" if device.type == "cuda" else "cpu")
    config = load_config(name, request.overrides)
    subject = load_subject(request.subject)
    head = load_head(subject.track.head)
    training, held_out = split_frames(subject, config.data.holdout, config.data.every)
    if len(training) < LEAST_FRAMES:
        raise SubjectError(
            f"{request.subject} has {len(training)} training frame(s), a fit needs at least {LEAST_FRAMES}",
            hint="record a longer video, or lower data.holdout and data.every",
        )
    folder = request.run
    finished = folder / AVATAR_FILE
    if request.fresh:
        for old in (folder / CHECKPOINT, folder / LOG, finished):
            old.unlink(missing_ok=True)
    if finished.is_file():
        raise AvatarError(
            f"{folder} already holds a finished avatar",
            hint="choose another folder with -o, or start again with --fresh",
        )
    resumed = (folder / CHECKPOINT).is_file()
    frames = load_frames(subject, training, config.data.size, lambda done, n: progress("load", done, n))
    folder.mkdir(parents=True, exist_ok=True)
    header = {"subject": str(request.subject.resolve()), "training_frames": training.frames.tolist()}
    header["held_out_frames"] = held_out.frames.tolist()
    shown = frames[torch.linspace(0, len(frames) - 1, min(PREVIEWS, len(frames))).long()].to(device)
    (folder / "config.toml").write_text(tomli_w.dumps(config_to_dict(config)), encoding="utf-8")
    preview_folder = folder / "preview"
    preview_folder.mkdir(exist_ok=True)

    def on_step(at: Progress) -> None:
        progress(f"fit: {at.stage}, loss {at.loss:.4f}", at.step, at.total)

    compressor = ThreadPoolExecutor(1)  # the fit goes on while a preview is compressed
    compressed: list[Future[None]] = []

    def on_preview(avatar: Avatar, step: int) -> None:
        picture = comparison_sheet(avatar, shown)
        compressed.append(compressor.submit(write_png, preview_folder / f"step_{step:06d}.png", picture))

    try:
        with compressor:
            avatar, seconds = fit_avatar(
                frames,
                head,
                config,
                folder,
                device=device,
                on_step=on_step,
                on_preview=on_preview,
                resume=not request.fresh,
            )
    except torch.cuda.OutOfMemoryError as error:
        raise FitError(
            f"the GPU ran out of memory: {error}",
            hint="lower the batch or the size: --set stage.batch=2, --set data.size=384",
        ) from error
    for preview in compressed:
        preview.result()  # a full disk must not pass unnoticed
    save_avatar(finished, avatar, {**header, "seconds": seconds})
    last = preview_folder / "final.png"
    write_png(last, comparison_sheet(avatar, shown))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return FitResult(
        avatar=finished,
        config=name,
        device=str(device),
        training_frames=len(training),
        held_out_frames=len(held_out),
        seconds=seconds,
        steps=sum(stage.steps for stage in config.stage),
        resumed=resumed,
        peak_memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        perceptual=perceptual_status() if config.loss.perceptual > 0 else "off in the config",
        preview=last,
    )
