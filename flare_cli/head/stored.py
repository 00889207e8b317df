"""Heads that the user added: one safetensors file each, in the user's data directory and nowhere else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from flare_cli.config.versions import known_version
from flare_cli.data.tensor_file import load_tensors, save_tensors
from flare_cli.errors import AvatarError, HeadError
from flare_cli.head.model import ArkitMap, HeadModel, LandmarkEmbedding
from flare_cli.head.open_head import content_digest

FORMAT_VERSION = 1
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TENSORS = (
    *("template", "faces", "uv", "uv_faces", "shape_dirs", "expression_dirs", "pose_dirs", "joints"),
    *("joint_shape_dirs", "joint_expression_dirs", "weights"),
)
EMBEDDINGS, EMBEDDING_PARTS = ("landmarks", "landmarks68"), ("face", "barycentric", "spread")
ADD_AGAIN = "add it again with `flare head add FILE`"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHead:
    """What a stored head says about itself; `about` is what was written when it was added."""

    name: str
    path: Path
    about: dict[str, Any]


def heads_folder() -> Path:
    """Where added heads are: `$FLARE_DATA/heads`, or the platform's place for a user's data."""
    chosen = os.environ.get("FLARE_DATA")
    return Path(chosen or platformdirs.user_data_dir("flare", appauthor=False)) / "heads"


def head_path(name: str) -> Path:
    """The file of the head called `name`, there or not. Raises `HeadError` for what can't be a name."""
    if not NAME.fullmatch(name):
        raise HeadError(
            f"{name!r} can't be the name of a head",
            hint="use lower-case letters, digits, dots and dashes, for example flame-2020",
        )
    return heads_folder() / f"{name}.safetensors"


def stored_names() -> list[str]:
    """Names of the heads that were added."""
    return sorted(path.stem for path in heads_folder().glob("*.safetensors") if NAME.fullmatch(path.stem))


def save_head(head: HeadModel, about: dict[str, Any]) -> Path:
    """Write the head, whole or not at all."""
    path = head_path(head.name)
    tensors = {name: getattr(head, name) for name in TENSORS}
    for name in EMBEDDINGS:
        embedding: LandmarkEmbedding = getattr(head, name)
        tensors |= {f"{name}.{part}": getattr(embedding, part) for part in EMBEDDING_PARTS}
    tensors |= {"arkit.expression": head.arkit.expression, "arkit.pose": head.arkit.pose}
    tensors["regions"] = torch.stack(list(head.regions.values())).byte()
    header = {
        "version": FORMAT_VERSION,
        "name": head.name,
        "sha256": head.sha256,
        "digest": _digest(tensors),
        "expressions": list(head.expression_names),
        "parents": list(head.parents),
        "regions": list(head.regions),
        "about": about,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, tensors, header)
    return path


def load_stored_head(name: str) -> HeadModel:
    """The head that was added as `name`, on the CPU. Raises `HeadError` if its file is missing or damaged."""
    path = head_path(name)
    tensors, header = _read(path)
    if header.get("digest") != _digest(tensors):
        raise HeadError(f"{path} is damaged: its digest is another than when it was written", hint=ADD_AGAIN)
    return HeadModel(
        name=name,
        sha256=str(header["sha256"]),
        **{key: tensors[key] for key in TENSORS},
        expression_names=tuple(header["expressions"]),
        parents=tuple(header["parents"]),
        regions=_regions(tensors["regions"], header["regions"]),
        landmarks=_embedding(tensors, "landmarks"),
        landmarks68=_embedding(tensors, "landmarks68"),
        arkit=ArkitMap(expression=tensors["arkit.expression"], pose=tensors["arkit.pose"]),
        hanging_hair=None,
    )


def stored_head(name: str) -> StoredHead:
    """What the head says about itself."""
    path = head_path(name)
    return StoredHead(name=name, path=path, about=_read(path)[1]["about"])


def remove_head(name: str) -> Path:
    """Delete the head's file. Raises `HeadError` if there is none."""
    path = head_path(name)
    if not path.is_file():
        raise HeadError(f"no head called {name!r} was added", hint="`flare head list` shows those that were")
    path.unlink()
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors, header = load_tensors(path)
    except AvatarError as error:
        raise HeadError(error.message, hint=ADD_AGAIN) from error
    known_version(header.get("version"), FORMAT_VERSION, str(path), error=HeadError, again=ADD_AGAIN)
    return tensors, header


def _digest(tensors: dict[str, Tensor]) -> str:
    return content_digest({name: tensor.cpu().numpy() for name, tensor in tensors.items()})


def _embedding(tensors: dict[str, Tensor], name: str) -> LandmarkEmbedding:
    return LandmarkEmbedding(**{part: tensors[f"{name}.{part}"] for part in EMBEDDING_PARTS})


def _regions(stacked: UInt8[Tensor, "R V"], names: list[str]) -> dict[str, Bool[Tensor, "V"]]:
    return {name: stacked[k] != 0 for k, name in enumerate(names)}
