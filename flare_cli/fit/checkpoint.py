"""Checkpoints: everything that a fit needs to go on exactly, written while it goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.storage import avatar_header, build_avatar
from flare_cli.config.loading import config_from_dict, config_to_dict
from flare_cli.config.schema import Config, setting
from flare_cli.config.tables import read_tables
from flare_cli.config.versions import known_version
from flare_cli.data.tensor_file import load_tensors, save_tensors
from flare_cli.errors import AvatarError
from flare_cli.fit.optimiser import Adam
from flare_cli.fit.track.unknowns import FrameUnknowns
from flare_cli.head.open_head import content_digest
from flare_cli.subject.track import Track

CHECKPOINT = "checkpoint.safetensors"
# `checkpoint` in the header; `version` is that of the avatar in it. Files of version 1, of before 0.2.0, state none.
CHECKPOINT_VERSION = 2
START_AGAIN = "start again with --fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a fit is: the stage, the next step within it, and the seconds spent so far."""

    stage: int = setting(0, "stages that are done", low=0, high=10**4)
    step: int = setting(0, "steps that are done", low=0, high=10**7)
    seconds: float = setting(0.0, "seconds spent", low=0)


@final
class CheckpointWriter:
    """Copies the state when asked and writes it on another thread; leaving the block waits for that."""

    def __init__(self, path: Path, config: Config, track: Track) -> None:
        self._path = path
        self._about = {
            "checkpoint": CHECKPOINT_VERSION,
            "config": config_to_dict(config),
            "subject": _identity(track),
        }
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def save(self, avatar: Avatar, unknowns: FrameUnknowns, optimiser: Adam, position: Position) -> None:
        """Replace the last checkpoint. Raises what went wrong when that was written."""
        self._settle()
        parts: dict[str, nn.Module] = {"avatar": avatar, **unknowns.parts()}
        state = {f"{part}.{name}": tensor for part in parts for name, tensor in parts[part].state_dict().items()}
        state |= optimiser.tensors()
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        header = avatar_header(avatar, {"position": asdict(position), **self._about})
        self._written = self._thread.submit(save_tensors, self._path, copies, header)

    def _settle(self) -> None:
        if self._written is not None:
            self._written.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self._settle()


def load_checkpoint(
    path: Path, config: Config, track: Track, device: torch.device
) -> tuple[Avatar, Position, dict[str, Tensor]]:
    """The avatar, where its fit was, and the state beside it: the optimiser's, and the `FrameUnknowns`'.

    Raises `AvatarError` for another subject's or config's.

    `track` is of the training frames, at the size of the pictures that are fitted.
    """
    tensors, header = load_tensors(path)
    stated = header.get("checkpoint", 1)
    known_version(stated, CHECKPOINT_VERSION, str(path), error=AvatarError, again=START_AGAIN)
    if "subject" not in header:  # the first files of version 1
        raise AvatarError(f"{path} is of an early flare, and does not say whose fit it is of", hint=START_AGAIN)
    avatar_tensors = part_of(tensors, "avatar")
    avatar = build_avatar(avatar_tensors, header, path, device)
    checkpoint_config = config_from_dict(header.get("config"), f"{path}, config")
    if checkpoint_config != replace(config, run=checkpoint_config.run):
        raise AvatarError(
            f"{path} belongs to a fit with other settings",
            hint="use the same config to go on with it, or --fresh to start again",
        )
    if header.get("subject") != _identity(track):
        raise AvatarError(
            f"{path} belongs to the fit of another subject, or of other frames of it",
            hint="go on with the subject that it was begun with, choose another folder with -o, or start again with"
            " --fresh",
        )
    position = read_tables(Position, header.get("position"), f"{path}, position", error=AvatarError, hint=START_AGAIN)
    if position.stage >= len(config.stage) or position.step > config.stage[position.stage].steps:
        raise AvatarError(f"{path} is at a step that the fit does not have: {position}", hint=START_AGAIN)
    return avatar, position, {name: t for name, t in tensors.items() if not name.startswith("avatar.")}


def part_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """What a checkpoint holds of one of its parts, by its own names."""
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}


def _identity(track: Track) -> str:
    """Digest of who was filmed, how the head moved, and which frames are fitted: the same wherever the folder is."""
    parts = {name: getattr(track, name) for name in ("frames", "shape", "expression", "pose", "translation")}
    parts |= {"intrinsics": track.camera.intrinsics, "camera_from_world": track.camera.camera_from_world}
    arrays = {name: tensor.cpu().numpy() for name, tensor in parts.items()}
    return content_digest({**arrays, "head": np.frombuffer(track.head.encode(), np.uint8)})
