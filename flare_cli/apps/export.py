"""`flare export`: the avatar as OBJ or GLB with textures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.apps.progress import ProgressCallback
from flare_cli.apps.runs import choose_device, load_run, newest_run
from flare_cli.avatar.bake import BakedMesh, BakedTextures, bake_mesh, bake_textures
from flare_cli.errors import AvatarError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `flare export` was asked."""

    kind: str
    out: Path
    run: Path | None = None
    texture_size: int = 1024
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """The main file, everything that was written, and its counts."""

    run: Path
    file: Path
    files: list[Path]
    vertices: int
    triangles: int
    morph_targets: int
