"""`flare view`: a page in a browser that shows an avatar as the engine draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.drive.drivers import CACHE, load_driver
from flare_cli.drive.presets import PRESETS
from flare_cli.drive.transfer import transfer
from flare_cli.fit.run_folder import Run, load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.camera import look_at
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.show.filming.performance import Performance, driven_performance, recorded_performance
from flare_cli.show.viewing.address import THIS_COMPUTER, Listening, OnOpen
from flare_cli.show.viewing.desk import Desk
from flare_cli.show.viewing.edited import EditedTextures
from flare_cli.show.viewing.server import PageServer
from flare_cli.show.viewing.service import ViewingService
from flare_cli.show.viewing.studio import Studio
from flare_cli.subject.track import Track

DISTANCE, FOV = 0.8, 25.0  # metres and degrees: of a portrait, where no recording says


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRequest:
    """What `flare view` was asked. `drivers` are what `drivers.load_driver` takes; the presets can always be played.

    `textures` is a folder of pictures to show in place of the avatar's materials, as long as somebody paints on them.
    """

    run: Path | None = None
    drivers: tuple[Path, ...] = ()
    textures: Path | None = None
    at: Listening = THIS_COMPUTER
    rasterizer: str | None = None
    device: str = "auto"


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def view(request: ViewRequest, progress: ProgressCallback, on_open: OnOpen) -> None:
    """Show an avatar until somebody interrupts. `on_open` is told where. Raises `FlareError`."""
    run = load_run(request.run or newest_run(), choose_device(request.device), rasterizer=request.rasterizer)
    edited = None if request.textures is None else EditedTextures(request.textures, run.avatar.device)
    studio, desk = open_studio(run, request.drivers, progress, edited), Desk()
    service = ViewingService(run.folder.resolve().name, lambda: studio, desk)
    with PageServer(service, request.at) as server:
        on_open(server.address)
        try:
            while True:
                desk.attend(1)
        except KeyboardInterrupt:
            pass  # as everybody ends it
        finally:
            desk.close()


def open_studio(
    run: Run, drivers: tuple[Path, ...], progress: ProgressCallback, textures: EditedTextures | None = None
) -> Studio:
    """The run's avatar with all that it can play: its recording, where it still is, the presets, and `drivers`."""
    here = Path(run.origin.subject).is_dir()
    own = recorded_performance(run.subject()) if here else _at_rest(run.avatar)
    head = run.avatar.head.to("cpu")
    performances: dict[str, Performance] = {}
    for driver in (*map(Path, PRESETS), *drivers):
        loaded = load_driver(run.track_folder(driver), head, cache=run.folder / CACHE, progress=progress)
        moved = transfer(loaded, own.track, absolute=False)
        performances[driver.stem] = driven_performance(moved, loaded.subject)
    return Studio(run.avatar, run.rasterizer(), own, performances, textures, bust="closed")


def _at_rest(avatar: Avatar) -> Performance:
    """One moment of rest before a portrait's camera, for an avatar whose recording is not here."""
    eye = torch.tensor([[0.0, 0.0, DISTANCE]])
    track = Track(
        head=avatar.head.name,
        frames=torch.ones(1, dtype=torch.long),
        shape=avatar.shape.cpu(),
        expression=torch.zeros(1, avatar.head.n_expression),
        pose=torch.zeros(1, len(avatar.head.parents), 3),
        translation=torch.zeros(1, 3),
        camera=look_at(eye, torch.zeros_like(eye), fov_y=math.radians(FOV), height=512, width=512),
        fps=30.0,
    )
    return Performance(track=track, time=torch.zeros(1))
