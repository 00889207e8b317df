"""Run folders: where a fit happens, and how the other commands find it again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.storage import load_avatar
from flare_cli.config.loading import config_from_dict
from flare_cli.config.schema import Config
from flare_cli.config.tables import read_tables
from flare_cli.data.tensor_file import FIT_AGAIN
from flare_cli.errors import AvatarError
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.subject.folder import Subject, load_subject, load_track, save_subject
from flare_cli.subject.track import Track

AVATAR_FILE = "avatar.safetensors"
# The refined track: two files as a subject has them, without pictures.
TRACK_FOLDER = "track"
RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an avatar came from: the folder of the subject, and the numbers of its frames."""

    subject: str
    training_frames: tuple[int, ...]
    held_out_frames: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished fit: its folder, the avatar, how and to what it was fitted.

    `rasterizer_name` is the one to draw with.
    """

    folder: Path
    avatar: Avatar
    config: Config
    origin: Origin
    rasterizer_name: str

    def rasterizer(self) -> Rasterizer:
        """What to draw with. Raises `BackendError` if it is not here."""
        return choose_rasterizer(self.rasterizer_name, self.avatar.device)

    def given_subject(self) -> Subject:
        """The subject that was fitted, as it was given.

        Raises `SubjectError` if it is gone, or tracked anew with another head.
        """
        subject = load_subject(Path(self.origin.subject))
        subject.track.of_head(self.avatar.head)
        return subject

    def subject(self) -> Subject:
        """The subject that was fitted, with the track that it was fitted by. Raises `SubjectError` if it is gone."""
        return self.with_fitted_track(self.given_subject())

    def with_fitted_track(self, subject: Subject) -> Subject:
        """`subject` with the refined track of this run, if that is its own; any other as it is."""
        folder = self.track_folder(subject.folder)
        if folder == subject.folder:
            return subject
        track = load_track(folder)
        track.of_head(self.avatar.head)
        return replace(subject, track=track)

    def track_folder(self, subject: Path) -> Path:
        """Where the track of a subject folder is: in this run, if it is of the fitted subject and was refined.

        Raises `AvatarError` if it has been lost.
        """
        if subject.resolve() != Path(self.origin.subject).resolve() or not self.config.track.refine:
            return subject
        folder = self.folder / TRACK_FOLDER
        if not folder.is_dir():
            raise AvatarError(
                f"{self.folder} lacks the refined track that its avatar was fitted by: {TRACK_FOLDER}/ is missing",
                hint="copy the whole run folder, not the avatar alone, or fit again",
            )
        return folder


def save_refined_track(folder: Path, subject: Subject, track: Track, refined: list[int]) -> Path:
    """Write the track of all of `subject`'s frames, of which the `refined` numbers were fitted, to a run folder."""
    source = {"kind": "refined track", "subject": str(subject.folder.resolve()), "refined": refined}
    save_subject(replace(subject, folder=folder / TRACK_FOLDER, track=track, source=source))
    return folder / TRACK_FOLDER


def newest_run(runs: Path = RUNS) -> Path:
    """The run under `runs` whose avatar was written last. Raises `AvatarError` if there is none."""
    avatars = sorted(runs.glob(f"**/{AVATAR_FILE}"), key=lambda path: path.stat().st_mtime)
    if not avatars:
        raise AvatarError(
            f"there is no finished run under {runs.resolve()}",
            hint="name a run folder, or make one with `flare fit SUBJECT -o runs/NAME`",
        )
    return avatars[-1].parent


def load_run(folder: Path, device: torch.device, *, rasterizer: str | None = None) -> Run:
    """Load a run folder (or an avatar file itself), to draw with `rasterizer` or the one of the fit.

    Raises `AvatarError` if there is no avatar in it.
    """
    path = folder if folder.is_file() else folder / AVATAR_FILE
    if not path.exists():
        raise AvatarError(
            f"{folder} holds no avatar: {AVATAR_FILE} is missing",
            hint="make one with `flare fit`, or check the path",
        )
    avatar, header = load_avatar(path, device=device)
    config = config_from_dict(header.get("config", {}), f"{path}, config")
    said = {field.name: header[field.name] for field in fields(Origin) if field.name in header}
    return Run(
        folder=path.parent,
        avatar=avatar.eval().requires_grad_(False),
        config=config,
        origin=read_tables(Origin, said, str(path), error=AvatarError, hint=FIT_AGAIN),
        rasterizer_name=rasterizer or config.run.rasterizer,
    )
