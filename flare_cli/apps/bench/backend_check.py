"""Whether each rasterizer and hash grid runs here, shown by one triangle or one point."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from flare_cli.errors import FlareError
from flare_cli.render.backend import choose_encoding, choose_rasterizer
from flare_cli.render.device import choose_device
from flare_cli.render.optional import Package

Kind = Literal["rasterizer", "hash grid"]
TIMEOUT = 120  # seconds for one backend to load and draw


@dataclass(frozen=True, slots=True)
class Check:
    """What a backend did, or why it did nothing and what helps."""

    runs: bool
    state: str
    advice: str = ""


def check(kind: Kind, name: str) -> Check:
    """Let a backend do its test."""
    device = choose_device()
    try:
        done = _draw(name, device) if kind == "rasterizer" else _encode(name, device)
    except FlareError as error:
        return Check(False, error.message, error.hint)
    except RuntimeError as error:
        return Check(False, f"fails: {str(error).splitlines()[0]}")
    return Check(True, f"on {device}: {done}")


def check_optional(kind: Kind, package: Package) -> Check:
    """The same of an optional package, in a process of its own: a wrongly built extension ends its process."""
    if not package.installed:
        return Check(False, f"not installed (optional), {package.licence}", package.install)
    about = f"{package.version}, {package.licence}"
    code = f"from flare_cli.apps.bench import backend_check; backend_check.tell({kind!r}, {package.module!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(False, f"{about}: no answer in {TIMEOUT} s", package.install)
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
        return Check(False, f"{about}: crashes ({how})", f"build it anew, with the shared libstdc++: {package.install}")
    if done.returncode > 0:
        return Check(False, f"{about}: fails: {done.stderr.strip().splitlines()[-1]}", package.install)
    found = Check(**json.loads(done.stdout.splitlines()[-1]))
    return Check(found.runs, f"{about}; {found.state}", found.advice)


def tell(kind: Kind, name: str) -> None:
    """Write what `check` finds as JSON, for the process that asked."""
    sys.stdout.write(json.dumps(asdict(check(kind, name))) + "\n")


def _draw(name: str, device: torch.device) -> str:
    clip = torch.tensor([[[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0, 0.5, 0, 1]]], device=device)
    faces = torch.tensor([[0, 1, 2]], device=device)
    seen = choose_rasterizer(name, device).rasterize(clip, faces, 16, 16).triangle >= 0
    return f"draws the test triangle, {int(seen.sum())} pixels"


def _encode(name: str, device: torch.device) -> str:
    grid = choose_encoding(name, device, levels=2, log2_entries=8)
    return f"encodes the test point, {grid(torch.full((1, 3), 0.3, device=device)).numel()} features"
