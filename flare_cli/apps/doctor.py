"""`flare doctor`: what is installed, which backends run, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass

import torch

from flare_cli.errors import FlareError
from flare_cli.fit.perceptual import perceptual_status, vgg16_weights
from flare_cli.head.open_head import load_open_head
from flare_cli.head.stored import stored_names
from flare_cli.render.backend import choose_rasterizer
from flare_cli.score.metrics import lpips_or_reason

NVDIFFRAST = (
    "pip install setuptools wheel ninja && pip install git+https://github.com/NVlabs/nvdiffrast --no-build-isolation"
)
TINYCUDANN = "pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch --no-build-isolation"
PYTORCH3D = "pip install easypytorch3d"


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
        _rasterizer(),
        _open_head(),
        _other_heads(),
        _package("ai-edge-litert", needed=True, what="face landmarks and matte"),
        _package("imageio-ffmpeg", needed=True, what="video in and out"),
        _optional(
            "nvdiffrast", "non-commercial licence (NVIDIA Source Code License); not used by this version", NVDIFFRAST
        ),
        _optional("tinycudann", "BSD-3; not used by this version", TINYCUDANN),
        _optional("pytorch3d", "BSD-3; not used by this version", PYTORCH3D),
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


def _optional(module: str, licence: str, install: str) -> Finding:
    present = importlib.util.find_spec(module) is not None
    state = "installed" if present else "not installed (optional)"
    advice = "" if present else f"{install}  [{licence}]"
    return Finding(
        name=module, present=present, needed=False, state=f"{state}; {licence}" if present else state, advice=advice
    )


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


def _rasterizer() -> Finding:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        rasterizer = choose_rasterizer("auto", device)
        clip = torch.tensor([[[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0, 0.5, 0, 1]]], device=device)
        faces = torch.tensor([[0, 1, 2]], device=device)
        covered = int((rasterizer.rasterize(clip, faces, 16, 16).triangle >= 0).sum())
    except (FlareError, RuntimeError) as error:
        return Finding(
            name="rasterizer", present=False, needed=True, state=f"fails: {error}", advice="pip install -U warp-lang"
        )
    state = f"{rasterizer.name} on {device} (Apache-2.0), draws a test triangle: {covered} pixels"
    return Finding(name="rasterizer", present=covered > 0, needed=True, state=state)


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
