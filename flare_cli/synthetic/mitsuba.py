"""Path traced pictures by Mitsuba 3 (BSD-3, extra `synth`), in the types and conventions of our own ray tracer.

Light that bounces between surfaces is what `synthetic/raytrace.py` lacks. The surface is the same (Lambert plus GGX,
`mitsuba_plugins.py`), so that truth means the same; everything else is Mitsuba's.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import subprocess
import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.errors import BackendError
from flare_cli.render.camera import Cameras, look_at
from flare_cli.synthetic.raytrace import USUAL_F0, PaintedMesh, TracedPicture

VARIANTS = ("cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb")  # fastest first; the last needs neither a driver nor LLVM
MISSING_HINT = "pip install flare-cli[synth]"
TRIAL = f"import sys; from {__name__} import draw_trial; draw_trial(sys.argv[1])"
TRIAL_SECONDS = 120
# Maps are refined to so many rows: Mitsuba blends neighbouring pixels, ours are of one radiance each.
MAP_ROWS = 512


def mitsuba_installed() -> bool:
    """Whether Python finds Mitsuba."""
    return importlib.util.find_spec("mitsuba") is not None


@cache
def mitsuba_variant() -> str:
    """The fastest variant that draws here. Raises `BackendError` where Mitsuba is missing or none does.

    Each is tried in a process of its own: an LLVM that does not fit Mitsuba ends the process and raises nothing.
    """
    if not mitsuba_installed():
        raise BackendError("Mitsuba is not installed", hint=MISSING_HINT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    complaint = ""
    for variant in VARIANTS:
        if variant.startswith("cuda") and not torch.cuda.is_available():
            continue
        trial = [sys.executable, "-c", TRIAL, variant]
        try:
            done = subprocess.run(trial, env=environment, capture_output=True, text=True, timeout=TRIAL_SECONDS)
        except subprocess.TimeoutExpired:
            complaint = f"{variant} took longer than {TRIAL_SECONDS} s"
            continue
        if done.returncode == 0:
            return variant
        complaint = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise BackendError(
        f"Mitsuba is installed but draws nothing here: {complaint}",
        hint="try another version: pip install mitsuba==3.6.4",
    )


def draw_trial(variant: str) -> None:
    """Draw one small picture by `variant`, whatever comes of it."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    mesh = PaintedMesh(
        vertices=corners,
        faces=torch.tensor([[0, 1, 2]]),
        normals=torch.tensor([[0.0, 0, 1]]).expand(3, 3),
        albedo=torch.full((3, 3), 0.5),
        roughness=torch.full((3,), 0.5),
        labels=torch.ones(3, dtype=torch.long),
    )
    camera = look_at(torch.tensor([[0.0, 0, 4]]), torch.zeros(1, 3), fov_y=0.5, height=8, width=8)
    MitsubaHead(mesh, variant).trace(camera, torch.ones(8, 16, 3), samples=1, seed=0, bounces=1)


def trace_path(
    mesh: PaintedMesh, camera: Cameras, envmap: Float[Tensor, "H W 3"], *, samples: int, seed: int, bounces: int
) -> TracedPicture:
    """Trace `samples` paths per pixel of one camera, with up to `bounces` reflections between surfaces.

    `samples` is rounded up to fill a grid. 0 bounces is direct light, as `trace_picture` draws it. The same seed gives
    the same samples (in one variant), and the same picture but for the order in which threads add them up. Pixels must
    be square, tensors on the CPU. Raises `BackendError` where Mitsuba is missing or does not run.
    """
    return MitsubaHead(mesh).trace(camera, envmap, samples=samples, seed=seed, bounces=bounces)


@cache
def load_variant(variant: str) -> tuple[ModuleType, ModuleType]:
    """Mitsuba itself and our additions to it; one variant in a process."""
    mi = importlib.import_module("mitsuba")
    mi.set_variant(variant)
    mi.set_log_level(mi.LogLevel.Error)  # a scalar variant warns that Python slows it down, at every picture
    return mi, importlib.import_module("flare_cli.synthetic.mitsuba_plugins")


class MitsubaHead:
    """One mesh as Mitsuba's scene: built once, and traced by several cameras and under several maps."""

    def __init__(self, mesh: PaintedMesh, variant: str | None = None) -> None:
        self._mesh = mesh
        self._mi, self._plugins = load_variant(variant or mitsuba_variant())
        light = _emitter(self._mi, torch.zeros(1, 2, 3))
        shape = _shape(self._mi, self._plugins, mesh)
        self._scene = self._mi.load_dict({"type": "scene", "head": shape, "light": light})

    def trace(
        self, camera: Cameras, envmap: Float[Tensor, "H W 3"], *, samples: int, seed: int, bounces: int
    ) -> TracedPicture:
        """What `trace_path` says, of this mesh."""
        mi, plugins = self._mi, self._plugins
        values = mi.traverse(self._scene)
        values["light.data"] = mi.traverse(_emitter(mi, envmap))["data"]
        values.update()
        # Mitsuba counts what is emitted and what is lit as the first two; no path is ended by chance.
        depth = bounces + 2
        path = {"type": "path", "max_depth": depth, "rr_depth": depth + 1, "hide_emitters": True}
        # Measured on a head, 64 samples: a third to four tenths of independent samples' noise, in the same time.
        sensor = _sensor(mi, camera, {"type": "multijitter", "sample_count": samples})
        seen = mi.load_dict({"type": plugins.SEEN, "light": path})
        drawn = _picture(mi, mi.render(self._scene, sensor=sensor, integrator=seen, spp=samples, seed=seed))
        middle = _sensor(mi, camera, {"type": "stratified", "sample_count": 1, "jitter": False})
        centres = mi.load_dict({"type": plugins.CENTRES})
        met = _picture(mi, mi.render(self._scene, sensor=middle, integrator=centres, spp=1))
        return _buffers(drawn, camera, _labels(met, self._mesh), self._mesh.f0)


def _picture(mi: Any, rendered: Any) -> Float[Tensor, "H W C"]:
    return torch.from_numpy(np.array(rendered, dtype=np.float32))


def _buffers(drawn: Float[Tensor, "H W C"], camera: Cameras, label: Int[Tensor, "H W"], f0: float) -> TracedPicture:
    """Means over all rays, of the surface over those that hit. Depth is that of the mean place."""
    radiance, coverage, surface = drawn[..., :3], drawn[..., 3], drawn[..., 4:]
    hit = coverage > 0
    mean = torch.where(hit[..., None], surface / coverage.clamp(min=1e-6)[..., None], 0)
    axis, shift = camera.camera_from_world[0, 2, :3], camera.camera_from_world[0, 2, 3]
    return TracedPicture(
        radiance=radiance,
        coverage=coverage,
        albedo=mean[..., :3],
        roughness=mean[..., 3],
        specular=mean[..., 4] * (f0 / USUAL_F0),
        normal=torch.nn.functional.normalize(mean[..., 5:8], dim=-1),
        depth=torch.where(hit, mean[..., 8:11] @ axis + shift, 0),
        label=label,
    )


def _labels(met: Float[Tensor, "H W C"], mesh: PaintedMesh) -> Int[Tensor, "H W"]:
    """The label of the corner nearest to what the ray through a pixel's centre met, 0 for nothing."""
    face, second, third = met[..., -3:].unbind(-1)
    weights = torch.stack([1 - second - third, second, third], -1)
    corners = mesh.faces[(face.round().long() - 1).clamp(min=0)]
    nearest = corners.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
    return torch.where(face > 0, mesh.labels[nearest], 0)


def _shape(mi: Any, plugins: Any, mesh: PaintedMesh) -> Any:
    props = mi.Properties()
    props["bsdf"] = mi.load_dict({"type": plugins.SURFACE, "f0": mesh.f0})
    shape = mi.Mesh("head", len(mesh.vertices), len(mesh.faces), props, has_vertex_normals=True)
    shape.add_attribute(plugins.ALBEDO, 3, _flat(mesh.albedo))
    specular = torch.ones_like(mesh.roughness) if mesh.specular is None else mesh.specular
    sharp = torch.zeros_like(mesh.roughness) if mesh.sharp is None else mesh.sharp
    shape.add_attribute(plugins.GLOSS, 3, _flat(torch.stack([mesh.roughness, specular, sharp], 1)))
    values = mi.traverse(shape)
    values["vertex_positions"] = _flat(mesh.vertices)
    values["vertex_normals"] = _flat(mesh.normals)
    values["faces"] = mesh.faces.numpy().astype(np.uint32).ravel()
    values.update()
    return shape


def _flat(values: Float[Tensor, "V *n"]) -> Float[np.ndarray, "N"]:
    return values.numpy().astype(np.float32).ravel()


def _emitter(mi: Any, envmap: Float[Tensor, "H W 3"]) -> Any:
    """The map in Mitsuba's layout: its first column looks along -z, and its rows stand on pixel edges, pole to pole."""
    refined = max(1, MAP_ROWS // envmap.shape[0])
    pixels = envmap.float().repeat_interleave(refined, 0).repeat_interleave(refined, 1)
    edges = torch.cat([pixels[:1], (pixels[1:] + pixels[:-1]) / 2, pixels[-1:]])
    turned = edges.roll(-(edges.shape[1] // 2), dims=1)
    return mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(turned.contiguous().numpy())})


def _sensor(mi: Any, camera: Cameras, sampler: dict[str, Any]) -> Any:
    """A camera whose x points left and y up, as Mitsuba has it."""
    fx, fy, cx, cy = camera.intrinsics[0].double().tolist()
    assert math.isclose(fx, fy, rel_tol=1e-4), "Mitsuba's pixels are square"
    to_world = np.eye(4)
    to_world[:3, :3] = camera.camera_from_world[0, :, :3].double().T.numpy() * [-1, -1, 1]
    to_world[:3, 3] = camera.centres()[0].double().numpy()
    return mi.load_dict(
        {
            "type": "perspective",
            "fov_axis": "y",
            "fov": math.degrees(2 * math.atan(camera.height / (2 * fy))),
            "principal_point_offset_x": 0.5 - cx / camera.width,
            "principal_point_offset_y": 0.5 - cy / camera.height,
            "to_world": mi.ScalarTransform4f(to_world),
            "sampler": sampler,
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "component_format": "float32",
                "rfilter": {"type": "box"},
            },
        }
    )
