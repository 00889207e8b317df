"""Tensors with a JSON header in one safetensors file. Written whole or not at all; nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flare_cli.data.atomic import replace_whole
from flare_cli.data.json_file import NOT_JSON, parsed
from flare_cli.errors import AvatarError

FIT_AGAIN = "fit again with `flare fit`"


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and header; an earlier file stays until the new one is complete on disk."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_whole(path) as partial:
        try:
            save_file(plain, partial, metadata={"flare": json.dumps(header)})
        except SafetensorError as error:
            refused = re.search(r"\(os error (\d+)\)", str(error))  # the only word of it that is not prose
            raise OSError(int(refused[1]), str(error)) if refused else error from error
        with partial.open("rb") as file:
            os.fsync(file.fileno())


def load_tensors(path: Path, *, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: finite numbers, and a JSON object.

    Raises `AvatarError` if the file is missing, damaged or not ours.
    """
    if not path.is_file():
        raise AvatarError(f"{path} does not exist", hint="make one with `flare fit`, or check the path")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            header = parsed((file.metadata() or {})["flare"])
            # Copies begin where torch's own tensors do: from wherever they lie in the file, sums are rounded otherwise.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, *NOT_JSON) as error:
        raise AvatarError(f"{path} is damaged or not a flare file: {error}", hint=FIT_AGAIN) from error
    if not isinstance(header, dict):
        raise AvatarError(f"{path} has a header that is a {type(header).__name__}, not an object", hint=FIT_AGAIN)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise AvatarError(f"{path}: {name} holds numbers that are not finite", hint=FIT_AGAIN)
    return tensors, header
