"""`flare doctor`: what is installed, which backends run, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass

import torch
import warp as wp

from flare_cli.apps.bench.backend_check import Kind, check, check_optional
from flare_cli.avatar.networks.triton_mlp import triton_trouble
from flare_cli.errors import BackendError, FlareError
from flare_cli.fit.loss.perceptual import perceptual_status, vgg16_weights
from flare_cli.head.open_head import load_open_head
from flare_cli.head.stored import stored_names
from flare_cli.render.optional import NVDIFFRAST, PYTORCH3D, TINYCUDANN, Package
from flare_cli.score.metrics import lpips_or_reason
from flare_cli.synthetic.mitsuba import mitsuba_variant


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
        _package("warp-lang", needed=True, what=f"keeps compiled kernels in {wp.config.kernel_cache_dir}"),
        *_backends(),
        _networks(),
        _open_head(),
        _other_heads(),
        _package("ai-edge-litert", needed=True, what="face landmarks and matte"),
        _package("imageio-ffmpeg", needed=True, what="video in and out"),
        _lpips(),
        _perceptual(),
        _package("OpenEXR", needed=False, what="(BSD-3): .exr environment maps", install="flare-cli[exr]"),
        _package("usd-core", needed=False, what="(TOST-1.0): `flare export --format usd`", install="flare-cli[usd]"),
        _mitsuba(),
        _package("ray", needed=False, what="(Apache-2.0): `flare batch` works on many subjects at a time"),
    ]


def _machine() -> Finding:
    state = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Finding(name="machine", present=True, needed=True, state=state)


def _package(name: str, *, needed: bool, what: str = "", install: str = "") -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            name=name, present=False, needed=needed, state="missing", advice=f"pip install {install or name}"
        )
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


def _backends() -> list[Finding]:
    """What "auto" takes, and every other rasterizer and hash grid."""
    return [
        _built_in("rasterizer", "rasterizer", "warp"),
        _optional("rasterizer", NVDIFFRAST),
        _optional("rasterizer", PYTORCH3D),
        _built_in("hash grid", "hash grid", "warp"),
        _built_in("torch grid", "hash grid", "torch"),
        _optional("hash grid", TINYCUDANN),
    ]


def _built_in(name: str, kind: Kind, backend: str) -> Finding:
    found, chosen = check(kind, backend), backend == "warp"
    about = (
        "auto takes warp (Apache-2.0), the fastest in fits where measured"
        if chosen
        else "the slow reference, in plain torch"
    )
    advice = found.advice or ("" if found.runs else "pip install -U warp-lang torch")
    return Finding(name=name, present=found.runs, needed=chosen, state=f"{about}; {found.state}", advice=advice)


def _optional(kind: Kind, package: Package) -> Finding:
    found = check_optional(kind, package)
    return Finding(
        name=package.module, present=found.runs, needed=False, state=f"{kind}; {found.state}", advice=found.advice
    )


def _networks() -> Finding:
    """How materials and light run: fits differ in speed by it, not in what comes out."""
    if not torch.cuda.is_available():
        return Finding(name="networks", present=True, needed=False, state="block by block on the cores, in float32")
    if trouble := triton_trouble():
        return Finding(
            name="networks",
            present=False,
            needed=False,
            state=f"{trouble}: layer by layer, in bfloat16; a step takes about a third longer",
            advice="pip install triton (torch for Linux brings it); it needs gcc and Python's headers (python3-dev)",
        )
    state = f"triton {importlib.metadata.version('triton')} (MIT): one kernel each way, in bfloat16"
    return Finding(name="networks", present=True, needed=False, state=state)


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


def _mitsuba() -> Finding:
    """What path traces for `flare synth`."""
    try:
        variant = mitsuba_variant()
    except BackendError as error:
        return Finding(name="mitsuba", present=False, needed=False, state=error.message, advice=error.hint)
    state = f"{importlib.metadata.version('mitsuba')} (BSD-3): `flare synth` traces with {variant}"
    if not variant.startswith("scalar"):
        return Finding(name="mitsuba", present=True, needed=False, state=state)
    advice = "install an LLVM that fits it, or name one in DRJIT_LIBLLVM_PATH: a picture takes a hundredth of the time"
    return Finding(name="mitsuba", present=True, needed=False, state=f"{state}, slowly", advice=advice)
