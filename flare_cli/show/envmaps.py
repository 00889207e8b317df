"""Environment maps by name or path, and how bright to show them."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.config.shipped import shipped_folder
from flare_cli.errors import EnvmapError


def bundled_envmaps() -> dict[str, Path]:
    """The environment maps that come with the program, by name: `studio`, `measured/forest`."""
    folder = shipped_folder("assets/env_maps")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.hdr"))}


def find_envmap(path: Path) -> Path:
    """A file as it is, or a bundled map by its bare name. Raises `EnvmapError` if there is neither."""
    if path.exists():
        return path
    bundled = bundled_envmaps()
    if str(path) in bundled:
        return bundled[str(path)]
    raise EnvmapError(
        f"there is no environment map {path}",
        hint=f"use the path of an .hdr or .exr file, or one of {', '.join(bundled)}",
    )


def named_envmaps(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Files (or bundled maps) by the names of what is made with them. Raises `EnvmapError` where two share one."""
    named: dict[str, Path] = {}
    for path in map(find_envmap, paths):
        if path.stem in named:
            raise EnvmapError(
                f"{path} and {named[path.stem]} have the same name",
                hint="rename one: what is drawn under them is named after them",
            )
        named[path.stem] = path
    return named


def automatic_exposure(envmap: Float[Tensor, "H W 3"]) -> float:
    """Stops that bring the map's mean radiance over the sphere to 1: maps from anywhere then light a face alike."""
    rows = envmap.shape[0]
    weight = torch.sin((torch.arange(rows) + 0.5) / rows * math.pi)[:, None, None]
    luminance = (envmap * weight).sum() / (3 * weight.sum() * envmap.shape[1])
    return -math.log2(max(float(luminance), 1e-8))
