"""`flare doctor`: what is installed, which backends run, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from flare_cli.errors import FlareError
from flare_cli.fit.perceptual import perceptual_status, vgg16_weights
from flare_cli.head.open_head import load_open_head
from flare_cli.head.stored import stored_names
from flare_cli.render.backend import choose_encoding, choose_rasterizer
from flare_cli.render.optional import NVDIFFRAST, PYTORCH3D, TINYCUDANN, Package
from flare_cli.score.metrics import lpips_or_reason

_WARP = Package(module="warp", distributions=("warp-lang",), licence="Apache-2.0", install="pip install -U warp-lang")
_TORCH = Package(module="torch", distributions=("torch",), licence="BSD-3; the slow reference", install="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `needed` things that are not `present` make the doctor fail."""

    name: str
    present: bool
    needed: bool
    state: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything once. Raises nothing: what fails is a finding."""
    return [
        _machine(),
        _package("torch", needed=True),
        _cuda(),
        _package("warp-lang", needed=True),
        *_rasterizers(),
        *_hash_grids(),
        _open_head(),
        _other_heads(),
        _package("ai-edge-litert", needed=True, what="face landmarks and matte"),
        _package("imageio-ffmpeg", needed=True, what="video in and out"),
        _lpips(),
        _perceptual(),
    ]


def _machine() -> Finding:
    state = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Finding(name="machine", present=True, needed=True, state=state)


def _package(name: str, *, needed: bool, what: str = "") -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=name, present=False, needed=needed, state="missing", advice=f"pip install {name}")
    return Finding(name=name, present=True, needed=needed, state=f"{version} {what}".strip())


def _cuda() -> Finding:
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        state = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        return Finding(name="GPU", present=True, needed=False, state=state)
    build = f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is a CPU build"
    return Finding(
        name="GPU",
        present=False,
        needed=False,
        state=f"none: everything runs on the CPU ({build})",
        advice="with an NVIDIA card, install torch for it: https://pytorch.org/get-started",
    )


def _rasterizers() -> list[Finding]:
    """What "auto" takes, then the others."""
    clip = torch.tensor([[[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0, 0.5, 0, 1]]])
    faces = torch.tensor([[0, 1, 2]])

    def draw(name: str, device: torch.device) -> str:
        rasterizer = choose_rasterizer(name, device)
        seen = rasterizer.rasterize(clip.to(device), faces.to(device), 16, 16).triangle >= 0
        return f"draws the test triangle, {int(seen.sum())} pixels"

    chosen = _runs("rasterizer", draw, "auto", _WARP)
    return [chosen, *(_runs(package.module, draw, package.module, package) for package in (NVDIFFRAST, PYTORCH3D))]


def _hash_grids() -> list[Finding]:
    """What "auto" takes, then the others."""

    def encode(name: str, device: torch.device) -> str:
        grid = choose_encoding(name, device, levels=2, log2_entries=8)
        features = grid(torch.full((1, 3), 0.3, device=device))
        return f"encodes the test point, {features.numel()} features"

    chosen = _runs("hash grid", encode, "auto", _WARP)
    return [chosen, _runs("torch grid", encode, "torch", _TORCH), _runs("tinycudann", encode, "tinycudann", TINYCUDANN)]


def _runs(what: str, work: Callable[[str, torch.device], str], name: str, package: Package) -> Finding:
    """Whether a backend does its work here, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    needed = package is _WARP
    about = (
        f"{package.version}, {package.licence}" if package.installed else f"not installed (optional), {package.licence}"
    )
    try:
        done = work(name, device)
    except FlareError as error:
        advice = error.hint if package.installed else package.install
        return Finding(name=what, present=False, needed=needed, state=f"{about}: {error.message}", advice=advice)
    except RuntimeError as error:
        state = f"{about}: fails: {str(error).splitlines()[0]}"
        return Finding(name=what, present=False, needed=needed, state=state, advice=package.install)
    first = "auto takes warp, the fastest where measured: " if name == "auto" else ""
    return Finding(name=what, present=True, needed=needed, state=f"{first}{about}; on {device}: {done}")


def _open_head() -> Finding:
    try:
        head = load_open_head()
    except FlareError as error:
        return Finding(name="open head", present=False, needed=True, state=error.message, advice="reinstall flare-cli")
    state = f"{len(head.template)} vertices, {head.n_shape} shapes, {head.n_expression} expressions (CC0)"
    return Finding(name="open head", present=True, needed=True, state=state)


def _other_heads() -> Finding:
    names = stored_names()
    state = ", ".join(names) if names else "none (optional; the open head needs no licence)"
    advice = "" if names else "flare head add generic_model.pkl"
    return Finding(name="other heads", present=bool(names), needed=False, state=state, advice=advice)


def _lpips() -> Finding:
    distance, status = lpips_or_reason()
    advice = "" if distance else "put the file there; `flare eval` reports the other metrics without it"
    return Finding(name="LPIPS", present=distance is not None, needed=False, state=status, advice=advice)


def _perceptual() -> Finding:
    present = vgg16_weights() is not None
    advice = "" if present else "optional: fits are a little sharper with it"
    return Finding(name="perceptual loss", present=present, needed=False, state=perceptual_status(), advice=advice)
