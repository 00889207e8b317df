"""The avatar file: one safetensors file with a JSON header that says which head, what it is built from and how good."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from flare_cli.avatar.avatar import HAIR, SHOWN, Avatar
from flare_cli.avatar.spec import (
    AvatarSpec,
    spec_from_dict,
    spec_of_version_1,
    spec_of_version_2,
    spec_of_version_3,
    spec_to_dict,
)
from flare_cli.config.versions import known_version
from flare_cli.data.tensor_file import FIT_AGAIN, load_tensors, save_tensors
from flare_cli.errors import AvatarError
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.library import load_head
from flare_cli.head.model import HangingHair, HeadModel
from flare_cli.head.open_head import EARLIER

# 2: `spec` in place of `config`, `structure` and `fresnel`. 3: two kinds of light. 4: a light for each video; may hold
# `confidence`. 5: may hold `squarest` and `coverings`. 6: may hold hair that hangs. Older files are still read.
AVATAR_VERSION = 6


def avatar_header(avatar: Avatar, extra: dict[str, Any]) -> dict[str, Any]:
    """What identifies an avatar and rebuilds its structure; `extra` is added as it is."""
    return {
        "version": AVATAR_VERSION,
        "head": {"name": avatar.head.name, "sha256": avatar.head.sha256},
        "spec": spec_to_dict(avatar.spec),
        **extra,
    }


def save_avatar(path: Path, avatar: Avatar, extra: dict[str, Any]) -> None:
    """Write the avatar to one file."""
    save_tensors(path, avatar.state_dict(), avatar_header(avatar, extra))


def load_avatar(path: Path, *, device: torch.device | str = "cpu") -> tuple[Avatar, dict[str, Any]]:
    """Read an avatar and its header. Raises `AvatarError` if it is missing, damaged, or made for another head."""
    tensors, header = load_tensors(path)
    return build_avatar(tensors, header, path, device), header


def build_avatar(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device | str) -> Avatar:
    """Rebuild the module that `avatar_header` describes and fill it with `tensors`."""
    known_version(header.get("version"), AVATAR_VERSION, str(path), error=AvatarError, again=FIT_AGAIN)
    try:
        head = load_head(header["head"]["name"])
        if header["head"]["sha256"] not in {head.sha256, *EARLIER}:
            raise AvatarError(
                f"{path} was fitted with another edition of the head {head.name}",
                hint="install the flare version that wrote it, or fit again",
            )
        if HAIR + "places" in tensors:
            hair = HangingHair(**{field.name: tensors[HAIR + field.name] for field in fields(HangingHair)})
            head = with_hanging_hair(head, hair)
        spec = spec_from_dict(_spec(header), f"{path}, spec")
        if header["version"] < 4:
            tensors = _of_version_4(tensors)
        _check_sizes(spec, head, tensors, path)
        avatar = Avatar(head.to(device), tensors["shape"], spec)
        for name in SHOWN.keys() & tensors.keys():
            setattr(avatar, name, torch.zeros(len(head.template), SHOWN[name], device=avatar.device))
        avatar.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = shorten(str(error), 300, placeholder=" …")
        raise AvatarError(f"{path} does not hold a whole avatar: {reason}", hint=FIT_AGAIN) from error
    return avatar


def _spec(header: dict[str, Any]) -> Any:
    if header["version"] == 1:
        return spec_of_version_1(header)
    if header["version"] == 2:
        return spec_of_version_2(header["spec"])
    return spec_of_version_3(header["spec"]) if header["version"] == 3 else header["spec"]


def _of_version_4(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an older file: its one explicit light as the first of several."""
    return {n: t[None] if n in ("light.coarse", "light.detail") else t for n, t in tensors.items()}


def _check_sizes(spec: AvatarSpec, head: HeadModel, tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse a spec that asks for far more memory than the file's own tensors take, before it is taken."""
    material = spec.material
    finest = material.finest_resolution if material.levels > 1 else material.base_resolution
    rows = material.levels * min(2**material.log2_entries, (finest + 1) ** 3)
    stored = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("material."))
    # Coarse levels have fewer rows: at most one level in `levels` is full.
    if material.encoding == "hash" and rows * material.features > material.levels * stored:
        raise AvatarError(f"{path}: spec has a larger hash grid than the file's", hint=FIT_AGAIN)
    # Each subdivision adds a vertex per edge, and a closed mesh has three edges per vertex.
    if len(tensors["mesh.offsets"]) < len(head.template) * 3**spec.subdivisions:
        raise AvatarError(f"{path}: spec has more subdivisions than the file's mesh", hint=FIT_AGAIN)
