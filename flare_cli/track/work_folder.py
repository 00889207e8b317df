"""The folder in which an unfinished subject grows: every stage leaves its result there, and finds it when run again."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from flare_cli.data.array_file import DAMAGED_ARCHIVE, read_npz
from flare_cli.data.atomic import replace_whole
from flare_cli.data.json_file import MAKE_AGAIN, read_json, write_json
from flare_cli.errors import SubjectError

KEY = "key.json"
# What no subject keeps: plain numbers. As PNGs, crops would take 9 ms each to write and 5 each time they are read.
PASSING = ("crop", "matte")


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Files by stage. All of them are whole or not there, unless the machine itself went down: those are made again.

    `notes` say which.
    """

    folder: Path
    notes: list[str] = field(default_factory=list)

    def claim(self, key: str) -> None:
        """Make the folder the place for the input that `key` stands for; what another input left is removed."""
        note = self.folder / KEY
        if self.folder.exists() and self._key(note) != key:
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(note, {"key": key})

    def _key(self, note: Path) -> object:
        try:
            return read_json(note).get("key")
        except SubjectError as damage:
            self.notes.append(f"begun anew: {damage.message}")
            return None

    def picture(self, kind: str, number: int) -> Path:
        """The file of a frame's picture: crop, matte, image, mask or semantic."""
        return self.folder / kind / f"{number}.{'npy' if kind in PASSING else 'png'}"

    def save_passing(self, kind: str, number: int, picture: UInt8[np.ndarray, "H W *C"]) -> None:
        """Keep a picture for the stages to come."""
        with replace_whole(self.picture(kind, number)) as partial, partial.open("wb") as file:
            np.save(file, picture)

    def passing(self, kind: str, number: int) -> UInt8[np.ndarray, "H W *C"]:
        """A picture that `save_passing` kept. One that is damaged is removed, so that the next run makes it; raises
        `SubjectError`."""
        path = self.picture(kind, number)
        try:
            return np.load(path, allow_pickle=False)
        except DAMAGED_ARCHIVE as reason:
            path.unlink(missing_ok=True)
            raise SubjectError(f"{path} can't be read: {reason}", hint=MAKE_AGAIN) from reason

    def has(self, kind: str, number: int) -> bool:
        """Whether a frame's picture is written."""
        path = self.picture(kind, number)
        return path.is_file() and path.stat().st_size > 0

    def is_segmented(self, number: int) -> bool:
        """Whether a frame's picture, mask and label image are written."""
        return all(self.has(kind, number) for kind in ("image", "mask", "semantic"))

    def arrays(self, stage: str) -> dict[str, Any] | None:
        """What `save_arrays` kept of a stage, if it is there and whole."""
        path = self.folder / f"{stage}.npz"
        if not path.is_file():
            return None
        try:
            return read_npz(path, error=SubjectError, hint=MAKE_AGAIN, most=sys.maxsize)
        except SubjectError as damage:
            self.notes.append(f"{stage} made again: {damage.message}")
            return None

    def save_arrays(self, stage: str, arrays: dict[str, Any]) -> None:
        """Keep a stage's result."""
        with replace_whole(self.folder / f"{stage}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
