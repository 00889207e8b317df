"""A fit on the CPU, without what surrounds it."""

from pathlib import Path

import torch

from flare_cli.config.schema import Config
from flare_cli.fit.frames import Frames
from flare_cli.fit.loop import FitProgress, Fitted, fit_avatar


class StoppedError(Exception):
    pass


def fitted(
    frames: Frames,
    head,
    config: Config,
    folder: Path,
    *,
    losses: list[float] | None = None,
    stop_after: int | None = None,
) -> Fitted:
    def on_step(progress: FitProgress) -> None:
        if losses is not None:
            losses.append(progress.loss)
        if stop_after is not None and progress.step == stop_after:
            raise StoppedError

    folder.mkdir(exist_ok=True)
    return fit_avatar(
        frames,
        head,
        config,
        folder,
        device=torch.device("cpu"),
        on_steps=on_step,
        on_preview=lambda avatar, track, step: None,
        resume=True,
    )
