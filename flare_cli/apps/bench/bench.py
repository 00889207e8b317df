"""`flare bench`: the rasterizers and encodings that run here, side by side in one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.apps.bench.agreement import Agreement, agreements
from flare_cli.apps.bench.clock import Clock, Duration
from flare_cli.apps.bench.fit_step import StepTime, fit_steps
from flare_cli.config.loading import load_config
from flare_cli.errors import BackendError
from flare_cli.head.open_head import load_open_head
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.backend import ENCODINGS, RASTERIZERS, choose_encoding, choose_rasterizer
from flare_cli.render.camera import look_at
from flare_cli.render.device import choose_device
from flare_cli.render.encoding.interface import Encoding
from flare_cli.render.geometry import subdivide
from flare_cli.render.raster.antialias import antialias
from flare_cli.render.raster.fragments import Fragments, Pixels, foreground
from flare_cli.render.raster.interface import Rasterizer

FIT_STEPS = {"cpu": 6, "cuda": 200}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What to measure: pictures of `size`, `batch` at once, of heads of about so many thousand triangles."""

    device: torch.device
    size: int = 512
    batch: int = 4
    subdivisions: tuple[int, ...] = (0, 1, 2)
    points: int = 300_000
    repeats: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCommand:
    """What `flare bench` was asked. With a subject, steps of a fit to it are timed too."""

    subject: Path | None = None
    size: int | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Timing:
    """One part of the work by each backend, in the order of `BenchResult`'s names."""

    part: str
    durations: tuple[Duration, ...]


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Timings by backend and agreements with Warp; `missing` says why one was not measured."""

    device: str
    rasterizers: tuple[str, ...]
    encodings: tuple[str, ...]
    rasterizing: list[Timing]
    encoding: list[Timing]
    agreements: list[Agreement]
    missing: dict[str, str]
    steps: tuple[StepTime, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """The open head before cameras all around its front, in clip space, with per-vertex attributes."""

    clip: Float[Tensor, "B V 4"]
    attributes: Float[Tensor, "B V C"]
    faces: Int[Tensor, "F 3"]
    size: int


def head_scene(subdivisions: int, batch: int, size: int, device: torch.device) -> Scene:
    """The open head at rest, 0.9 m away, seen from `batch` directions up to 60 degrees off the front."""
    head = load_open_head()
    vertices, faces = head.template, head.faces
    for _ in range(subdivisions):
        finer = subdivide(faces, len(vertices))
        vertices, faces = finer.carried(vertices), finer.faces
    angle = torch.linspace(-math.pi / 3, math.pi / 3, batch) if batch > 1 else torch.zeros(1)
    eyes = 0.9 * torch.stack([angle.sin(), 0.1 * torch.ones(batch), angle.cos()], 1)
    cameras = look_at(eyes, torch.zeros(batch, 3), fov_y=0.42, height=size, width=size)
    surface = torch.cat([vertices, vertices.roll(1, 0)], 1).expand(batch, -1, -1)
    return Scene(
        cameras.clip(vertices.expand(batch, -1, -1)).to(device), surface.contiguous().to(device), faces.to(device), size
    )


def run_bench(command: BenchCommand, progress: ProgressCallback) -> BenchResult:
    """Every backend that runs here, at a size that a GPU or a CPU gets done in a minute."""
    device = choose_device(command.device)
    if device.type == "cuda":
        request = BenchRequest(device=device, size=command.size or 512)
    else:
        request = BenchRequest(
            device=device, size=command.size or 128, batch=2, subdivisions=(0,), points=20_000, repeats=3
        )
    result = bench(request, progress)
    if command.subject is None:
        return result
    progress("fit steps", 0, 1)
    config = load_config("default" if device.type == "cuda" else "cpu", ())
    steps = tuple(at for at, _ in fit_steps(command.subject, config, device, FIT_STEPS[device.type]))
    progress("fit steps", 1, 1)
    return replace(result, steps=steps)


def bench(request: BenchRequest, progress: ProgressCallback) -> BenchResult:
    """Time every rasterizer and encoding that runs on the device; compare their results with Warp's."""
    device, missing = request.device, dict[str, str]()
    parts = len(request.subdivisions) + 2
    rasterizers = _present(RASTERIZERS, lambda name: choose_rasterizer(name, device), missing)
    rasterizing: list[Timing] = []
    clock = Clock(request.device, request.repeats)
    for done, subdivisions in enumerate(request.subdivisions):
        progress("measure, rasterizers", done, parts)
        scene = head_scene(subdivisions, request.batch, request.size, device)
        columns = {name: _rasterizer_times(one, scene, clock) for name, one in rasterizers.items()}
        rasterizing += _rows(columns, f", {len(scene.faces)} triangles")
    progress("measure, hash grids", parts - 2, parts)
    points = _seen_points(rasterizers["warp"], request)
    encodings = _present(ENCODINGS, lambda name: choose_encoding(name, device), missing)
    encoding = {name: _encoding_times(one, points, clock) for name, one in encodings.items()}
    progress("measure, agreement", parts - 1, parts)
    scene = head_scene(0, request.batch, request.size, device)
    agreed = agreements(rasterizers, scene.clip, scene.attributes, scene.faces, scene.size)
    progress("measure", parts, parts)
    return BenchResult(
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        rasterizers=tuple(rasterizers),
        encodings=tuple(encodings),
        rasterizing=rasterizing,
        encoding=_rows(encoding, f", {len(points)} points"),
        agreements=agreed,
        missing=missing,
    )


def _present(names: Sequence[str], choose: Callable[[str], T], missing: dict[str, str]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name in names:
        try:
            found[name] = choose(name)
        except BackendError as error:
            missing[name] = error.message
    return found


def _rows(columns: dict[str, dict[str, Duration]], what: str) -> list[Timing]:
    parts = next(iter(columns.values()))
    return [Timing(part + what, tuple(column[part] for column in columns.values())) for part in parts]


def _rasterizer_times(rasterizer: Rasterizer, scene: Scene, clock: Clock) -> dict[str, Duration]:
    clip, attributes = scene.clip.clone().requires_grad_(), scene.attributes.clone().requires_grad_()
    faces, size = scene.faces, scene.size

    def rasterize() -> Fragments:
        return rasterizer.rasterize(clip, faces, size, size)

    fragments = rasterize()
    # The gradients of each part alone: what comes before is cut off.
    leaves = Fragments(
        fragments.triangle,
        fragments.barycentric.detach().requires_grad_(),
        fragments.depth.detach(),
    )
    pixels = foreground(leaves)
    image = torch.rand(*fragments.depth.shape, 3, device=clip.device, requires_grad=True)

    def interpolate() -> Float[Tensor, "P C"]:
        return rasterizer.interpolate(attributes, faces, leaves, pixels)

    def blend() -> Float[Tensor, "B H W C"]:
        return antialias(image, clip, faces, leaves)

    seen = (fragments.barycentric, fragments.depth)
    return {
        "rasterize": clock.time(rasterize),
        "rasterize, gradient": clock.time_gradient(seen, (clip,)),
        "interpolate": clock.time(interpolate),
        "interpolate, gradient": clock.time_gradient((interpolate(),), (attributes, leaves.barycentric)),
        "antialias": clock.time(blend),
        "antialias, gradient": clock.time_gradient((blend(),), (image, clip)),
    }


def _seen_points(rasterizer: Rasterizer, request: BenchRequest) -> Float[Tensor, "P 3"]:
    """Points of the head's surface in the unit cube, in the order in which pixels show them: as a fit asks."""
    scene = head_scene(0, request.batch, request.size, request.device)
    fragments = rasterizer.rasterize(scene.clip, scene.faces, scene.size, scene.size)
    pixels: Pixels = foreground(fragments)
    points = rasterizer.interpolate(scene.attributes[..., :3].contiguous(), scene.faces, fragments, pixels)
    points = (points - points.amin(0)) / (points.amax(0) - points.amin(0))
    return points.repeat(-(-request.points // len(points)), 1)[: request.points].contiguous()


def _encoding_times(encoding: Encoding, points: Float[Tensor, "P 3"], clock: Clock) -> dict[str, Duration]:
    assert isinstance(encoding, nn.Module)
    (table,) = encoding.parameters()
    moving = points.clone().requires_grad_()
    return {
        "encode": clock.time(lambda: encoding(points)),
        "encode, gradient to the table": clock.time_gradient((encoding(points),), (table,)),
        "encode, gradient to table and points": clock.time_gradient((encoding(moving),), (table, moving)),
    }
