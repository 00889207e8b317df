"""What glTF-Transform, a program of its own (npm, MIT), does to a GLB: fewer triangles, smaller geometry."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from flare_cli.errors import BackendError

Compression: TypeAlias = Literal["meshopt", "draco", "ktx2"]
# What each is called there. KTX2 at the best quality of ETC1S: a sixth of the memory of a decoded JPEG.
_COMPRESS: dict[Compression, tuple[str, ...]] = {
    "meshopt": ("meshopt", "--level", "medium"),
    "draco": ("draco",),
    "ktx2": ("etc1s", "--quality", "255"),
}
# A simplified surface strays by at most this part of the mesh's radius, a millimetre of a head: a skull and eyes that
# have few triangles as it is keep them. Six times as much made a pointed skull, and lids that eyeballs don't fill.
_MOST_ERROR = 0.005


def gltf_transform() -> str:
    """Where the program is. Raises `BackendError` with how to get it."""
    program = shutil.which("gltf-transform")
    if program is None:
        raise BackendError(
            "there is no program `gltf-transform` on PATH",
            hint="it comes with Node.js: `npm install --global @gltf-transform/cli`",
        )
    return program


def compress(file: Path, kind: Compression) -> None:
    """Compress a GLB in place. KTX2 also wants the program `ktx` (KTX-Software). Raises `BackendError`."""
    name, *options = _COMPRESS[kind]
    hint = "KTX2 needs the program `ktx` of KTX-Software 4.3 or later on PATH" if kind == "ktx2" else None
    _run(name, file, options, hint)


def simplify(file: Path, ratio: float) -> None:
    """Leave about this part of a GLB's triangles, more of a part that needs them, and all that their vertices know."""
    _run("simplify", file, ["--ratio", str(ratio), "--error", str(_MOST_ERROR), "--lock-border", "true"], None)


def _run(name: str, file: Path, options: Sequence[str], hint: str | None) -> None:
    changed = file.with_name(f"changed-{file.name}")
    command = [gltf_transform(), name, str(file), str(changed), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not changed.is_file():
        told = (done.stderr or done.stdout).strip() or "no reason given"
        raise BackendError(
            f"`gltf-transform {name}` failed: {told}",
            hint=hint or "update it: `npm install --global @gltf-transform/cli`",
        )
    changed.replace(file)
