"""Install a wheel as a user does, into a bare environment far from the checkout, and make an avatar with it.

python tools/check_wheel.py dist [PYTHON]        `make dist` runs it after building

The two commands are those of the README: `pip install` of the wheel, and `flare demo`. They have an empty home, and
another PYTHON if one is named. Before that the wheel is built once more, without the sdist: it has to be the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = "Scripts" if os.name == "nt" else "bin"


def the_only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} files {pattern}, not one")
    return found[0]


def is_built_the_same(wheel: Path, scratch: Path) -> None:
    """`wheel` was built from the sdist; built from the checkout it has to be the same, or the sdist lacks something."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", scratch, ROOT], check=True, capture_output=True
    )
    if the_only(scratch, "*.whl").read_bytes() != wheel.read_bytes():
        raise SystemExit("the sdist builds another wheel than the checkout")


def make_avatar(wheel: Path, python: str, scratch: Path) -> Path:
    """The GLB that the README's commands lead to."""
    subprocess.run([python, "-m", "venv", scratch / "venv"], check=True)
    programs = scratch / "venv" / ENTRY_POINTS
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "XDG_"))}
    (scratch / "home").mkdir()
    bare = {**kept, "HOME": str(scratch / "home"), "USERPROFILE": str(scratch / "home")}
    for words in ([programs / "pip", "install", "--quiet", wheel], [programs / "flare", "demo"]):
        started = time.monotonic()
        subprocess.run(words, check=True, cwd=scratch, env=bare)
        print(f"{words[0].name} {words[1]}: {time.monotonic() - started:.0f} s", flush=True)
    return the_only(scratch / "demo" / "export", "*.glb")


def main() -> None:
    wheel = the_only(Path(sys.argv[1]), "*.whl").resolve()
    python = sys.argv[2] if len(sys.argv) > 2 else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        is_built_the_same(wheel, scratch / "again")
        glb = make_avatar(wheel, python, scratch)
        if glb.read_bytes()[:4] != b"glTF":
            raise SystemExit(f"{glb} is no GLB")
        print(f"{wheel.name}: an avatar of {glb.stat().st_size / 2**20:.1f} MiB, {glb.name}")


if __name__ == "__main__":
    main()
