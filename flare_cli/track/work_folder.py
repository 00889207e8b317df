"""The folder in which an unfinished subject grows: every stage leaves its result there, and finds it when run again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flare_cli.data.atomic import replace_whole
from flare_cli.data.json_file import read_json, write_json


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Files by stage. All of them are whole or not there."""

    folder: Path

    def claim(self, key: str) -> None:
        """Make the folder the place for the input that `key` stands for; what another input left is removed."""
        note = self.folder / "key.json"
        if self.folder.exists() and (not note.is_file() or read_json(note).get("key") != key):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(note, {"key": key})

    def picture(self, kind: str, number: int) -> Path:
        """The file of a frame's picture: image, matte, mask or semantic."""
        return self.folder / kind / f"{number}.png"

    def is_segmented(self, number: int) -> bool:
        """Whether a frame's mask and label image are written."""
        return self.picture("mask", number).is_file() and self.picture("semantic", number).is_file()

    def arrays(self, stage: str) -> dict[str, Any] | None:
        """What `save_arrays` kept of a stage, if it is there."""
        path = self.folder / f"{stage}.npz"
        if not path.is_file():
            return None
        with np.load(path) as kept:
            return dict(kept)

    def save_arrays(self, stage: str, arrays: dict[str, Any]) -> None:
        """Keep a stage's result."""
        with replace_whole(self.folder / f"{stage}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
