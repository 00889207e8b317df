"""Textures that somebody paints in another program, read again whenever they are saved."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import final

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.baking.texture import MaterialTextures
from flare_cli.data.image import decoded
from flare_cli.errors import AvatarError
from flare_cli.render.colour import linear_from_srgb

PARTS = ("albedo", "roughness", "specular")
HINT = "write them with `flare export --format obj -o DIR`, and paint on those"


@final
class EditedTextures:
    """The files `*albedo.png` (sRGB), `*roughness.png` and `*specular.png` (linear) of a folder, those that there are.

    Raises `AvatarError` where there is none, or two of a kind.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = device
        self._files = {part: path for part in PARTS if (path := _only(folder, part)) is not None}
        if not self._files:
            raise AvatarError(f"{folder} holds no textures: no file ends in albedo.png", hint=HINT)
        self._read: dict[str, tuple[int, int]] = {}
        self._pictures: dict[str, Float[Tensor, "C H W"]] = {}
        self.current()
        for part, path in self._files.items():
            if part not in self._pictures:
                raise AvatarError(f"{path} is not a picture", hint=HINT)

    def stamp(self) -> str:
        """Another text whenever a file was saved."""
        return repr([_state(path) for path in self._files.values()])

    def current(self) -> MaterialTextures:
        """What the files show now; of one that is just being written, what it showed before."""
        for part, path in self._files.items():
            state = _state(path)
            if state is None or state == self._read.get(part):
                continue
            with suppress(FileNotFoundError):  # a program that saves may take the old one away first
                picture = decoded(path.read_bytes(), cv2.IMREAD_COLOR if part == "albedo" else cv2.IMREAD_GRAYSCALE)
                if picture is not None:
                    self._read[part], self._pictures[part] = state, _linear(picture, self._device)
        return MaterialTextures(**self._pictures)


def _only(folder: Path, part: str) -> Path | None:
    found = sorted(folder.glob(f"*{part}.png"))
    if len(found) > 1:
        raise AvatarError(f"{folder} holds {found[0].name} and {found[1].name}", hint="keep one of them there")
    return found[0] if found else None


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file is saved; None while it is being replaced."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_size


def _linear(picture: UInt8[np.ndarray, "H W *C"], device: torch.device) -> Float[Tensor, "C H W"]:
    """Of three channels (as OpenCV reads them, blue first) what sRGB encodes; one channel as it is."""
    values = torch.from_numpy(picture).to(device).float() / 255
    return linear_from_srgb(values.flip(-1)).permute(2, 0, 1).contiguous() if picture.ndim == 3 else values[None]
