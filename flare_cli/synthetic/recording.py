"""Synthetic recordings of the open head with known truth: how a person is filmed, and the subject of `flare demo`.

A person (seeded shape, hair, paint) performs under a light and is traced (`flare demo`: under a studio light by
`raytrace.py`). Besides the usual subject folder there is `truth/`, described in docs/formats.md, "Synthetic subject".
"""

from __future__ import annotations

import math
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.data.atomic import replace_whole
from flare_cli.data.hdr import save_hdr
from flare_cli.data.image import write_png
from flare_cli.data.json_file import read_json, write_json
from flare_cli.errors import SubjectError
from flare_cli.head import open_head
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import rest_vertices, shaped_joints, skin
from flare_cli.render.camera import Cameras, look_at
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.geometry import vertex_normals
from flare_cli.subject.folder import FrameQuality, Subject, load_subject, save_subject
from flare_cli.subject.track import Track
from flare_cli.synthetic.loop_subdivision import SmoothMesh, loop_subdivision
from flare_cli.synthetic.paint import Look, clothed, painted
from flare_cli.synthetic.people.interface import HeadParameters
from flare_cli.synthetic.performance import Performance, perform
from flare_cli.synthetic.raytrace import PaintedMesh, TracedPicture, trace_picture

RECIPE_VERSION = 1
FPS = 12.0
SMOOTHING_LEVELS = 2
# Deviation of the shape's components (of unit variance) and how many are not 0: a person near the average.
SHAPE_SIGMA, SHAPE_COMPONENTS = 0.6, 40
CAMERA_HEIGHT, CAMERA_DISTANCE, FIELD_OF_VIEW = -0.035, 0.75, 0.52  # metres, metres, radians
PARTS = ("image", "mask", "semantic", "truth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who is filmed: shape parameters, what hair and collar add at rest, the smooth mesh and its look."""

    head: HeadModel
    shape: Float[Tensor, "S"]
    added: Float[Tensor, "V 3"]
    smooth: SmoothMesh
    look: Look

    def parameters(self, performance: Performance) -> HeadParameters:
        """Of all frames."""
        return HeadParameters(
            shape=self.shape,
            expression=performance.expression(self.head),
            pose=performance.pose(self.head),
            translation=performance.translation,
        )

    def posed(self, performance: Performance, frame: int) -> PaintedMesh:
        """The painted surface in one frame, in world space."""
        one = slice(frame, frame + 1)
        expression, pose = performance.expression(self.head)[one], performance.pose(self.head)[one]
        rest = rest_vertices(self.head, self.shape, expression, pose) + self.added
        joints = shaped_joints(self.head, self.shape, expression)
        control = skin(rest, joints, pose, self.head.weights, self.head.parents) + performance.translation[one, None]
        vertices = torch.from_numpy((self.smooth.matrix @ control[0].double().numpy()).astype(np.float32))
        faces = torch.from_numpy(self.smooth.faces)
        return PaintedMesh(
            vertices=vertices,
            faces=faces,
            normals=vertex_normals(vertices[None], faces)[0],
            albedo=torch.from_numpy(self.look.albedo.astype(np.float32)),
            roughness=torch.from_numpy(self.look.roughness.astype(np.float32)),
            labels=torch.from_numpy(self.look.labels),
        )


def make_synthetic_subject(
    folder: Path,
    *,
    frames: int = 48,
    size: int = 192,
    seed: int = 0,
    samples: int = 16,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Subject:
    """Film a synthetic person into `folder`, ray traced, and return the subject, whose track is exact.

    The same arguments give the same files (another device: the same to its rounding). A folder that already holds this
    very recording is returned as it is; one that was cut off is filmed anew. `progress` is called with (frames done,
    frames). Raises `SubjectError` where `folder` holds something else.
    """
    recipe = {"version": RECIPE_VERSION, "frames": frames, "size": size, "seed": seed, "samples": samples}
    performance = perform(frames, seed=seed)
    source = {"kind": "synthetic", **recipe, "held_out_from": performance.held_out + 1}
    if (finished := _finished(folder, source)) is not None:
        return finished
    _clear(folder)
    person, camera, envmap = make_person(seed), studio_camera(size), studio_light(seed)
    write_json(folder / "truth" / "recipe.json", source)
    save_hdr(folder / "truth" / "light.hdr", envmap.numpy())
    subject = exact_subject(folder, person.parameters(performance), camera, fps=FPS, source=source)
    # A CPU traces a frame per core; a GPU one at a time, while the cores compress what it has traced.
    tracing = nullcontext() if torch.device(device).type == "cpu" else Lock()

    def film(i: int) -> None:
        mesh = person.posed(performance, i)
        with tracing:
            picture = trace_picture(mesh.to(device), camera, envmap, samples=samples, seed=seed * frames + i).to("cpu")
        _write_frame(subject, i + 1, picture)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(film, range(frames)), 1):
            if progress is not None:
                progress(done, frames)
    save_subject(subject)  # last: a folder without its track counts as cut off
    return subject


def exact_subject(
    folder: Path,
    parameters: HeadParameters,
    camera: Cameras,
    *,
    fps: float,
    source: dict[str, Any],
    held_out: tuple[int, ...] | None = None,
) -> Subject:
    """A recording of the open head whose track is exact. Frames count from 1; nothing is written."""
    count = len(parameters.expression)
    track = Track(
        head=open_head.NAME,
        frames=torch.arange(1, count + 1),
        shape=parameters.shape,
        expression=parameters.expression,
        pose=parameters.pose,
        translation=parameters.translation,
        camera=camera,
        fps=fps,
    )
    quality = tuple(FrameQuality(number=n, time=(n - 1) / fps, error=0.0, confidence=1.0) for n in range(1, count + 1))
    return Subject(folder=folder, track=track, quality=quality, source=source, held_out=held_out)


def truth_path(folder: Path, number: int) -> Path:
    """The buffers of frame `number`."""
    return folder / "truth" / f"{number}.npz"


def make_person(seed: int) -> Person:
    """The person of a seed."""
    head = load_head(open_head.NAME)
    generator = torch.Generator().manual_seed(seed)
    shape = torch.zeros(head.n_shape)
    shape[:SHAPE_COMPONENTS] = SHAPE_SIGMA * torch.randn(SHAPE_COMPONENTS, generator=generator)
    none = torch.zeros(1, head.n_expression)
    neutral = rest_vertices(head, shape, none, torch.zeros(1, len(head.joints), 3))
    normals = vertex_normals(neutral, head.faces)[0].double().numpy()
    places = neutral[0].double().numpy()
    smooth = loop_subdivision(head.faces.numpy(), len(places), levels=SMOOTHING_LEVELS)
    added, hair, collar = clothed(head, places, normals, seed)
    eyes = shaped_joints(head, shape, none)[0, 3:].double().numpy()
    look = painted(head, smooth.matrix @ places, eyes, smooth.matrix, hair, collar, seed)
    return Person(head=head, shape=shape, added=torch.from_numpy(added).float(), smooth=smooth, look=look)


def studio_camera(size: int, *, yaw: float = 0.0, pitch: float = 0.0) -> Cameras:
    """A still camera in front of the face; `yaw` (degrees) moves it around to the subject's left, `pitch` up."""
    across, up = math.radians(yaw), math.radians(pitch)
    away = [math.sin(across) * math.cos(up), math.sin(up), math.cos(across) * math.cos(up)]
    target = torch.tensor([[0.0, CAMERA_HEIGHT, 0.0]])
    eye = target + CAMERA_DISTANCE * torch.tensor([away])
    return look_at(eye, target, fov_y=FIELD_OF_VIEW, height=size, width=size)


def studio_light(seed: int, *, height: int = 64) -> Float[Tensor, "H W 3"]:
    """A large warm key, a wide cool fill, a rim light from behind and a dim room. The seed moves the key a little."""
    theta = (torch.arange(height) + 0.5) * (torch.pi / height)
    phi = ((torch.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * torch.pi
    sine, cosine = theta.sin()[:, None], theta.cos()[:, None].expand(height, 2 * height)
    directions = torch.stack([sine * phi.sin(), cosine, -sine * phi.cos()], -1)
    turn = 0.3 * float(torch.rand(1, generator=torch.Generator().manual_seed(seed + 77))) - 0.15
    # Direction (not of unit length), angular radius and radiance of each. Chosen by eye.
    lamps = (
        ((-0.65 + turn, 0.5, 0.75), 0.35, (7.5, 6.6, 5.6)),
        ((0.85, 0.1, 0.6), 0.6, (0.75, 0.9, 1.1)),
        ((0.7, 0.45, -0.75), 0.22, (10.0, 7.5, 4.5)),
    )
    light = torch.tensor([0.16, 0.17, 0.19]) * (1 + 0.6 * directions[..., 1:2])
    for toward, radius, radiance in lamps:
        axis = torch.nn.functional.normalize(torch.tensor(toward), dim=0)
        angle = torch.acos((directions @ axis).clamp(-1, 1))
        light = light + torch.sigmoid((radius - angle) / 0.04)[..., None] * torch.tensor(radiance)
    return light


def _finished(folder: Path, source: dict[str, Any]) -> Subject | None:
    """The subject in `folder` if it is this recording, and whole."""
    if not ((folder / "flare.json").is_file() and (folder / "flame_params.json").is_file()):
        return None
    if read_json(folder / "flare.json").get("source") != source:
        return None
    return load_subject(folder)


def _clear(folder: Path) -> None:
    """Remove an earlier or unfinished synthetic recording; refuse to touch anything else."""
    if (folder / "flame_params.json").is_file() and not (folder / "truth" / "recipe.json").is_file():
        raise SubjectError(f"{folder} holds another subject", hint="choose a new folder for the synthetic one")
    for name in ("flame_params.json", "flare.json"):
        (folder / name).unlink(missing_ok=True)
    if (folder / "truth" / "recipe.json").is_file():
        for part in PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "truth").mkdir(parents=True, exist_ok=True)


def as_bytes(values: Float[Tensor, "H W *channels"]) -> UInt8[np.ndarray, "H W *channels"]:
    """0..1 as bytes."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _write_frame(subject: Subject, number: int, picture: TracedPicture) -> None:
    write_png(subject.image_path(number), as_bytes(srgb_from_linear(picture.radiance)))
    write_png(subject.mask_path(number), as_bytes(picture.coverage))
    write_png(subject.label_path(number), picture.label.to(torch.uint8).numpy())
    write_buffers(truth_path(subject.folder, number), buffers_of(picture))


def buffers_of(picture: TracedPicture) -> dict[str, Any]:
    """Everything but the labels, as it is stored: float16, by name."""
    names = ("radiance", "coverage", "albedo", "roughness", "normal", "depth")
    return {name: getattr(picture, name).half().numpy() for name in names}


def write_buffers(path: Path, buffers: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an .npz that `np.load` reads, whole or not at all.

    Packed by bzip2: of half floats with noise a fifth less than deflate, and faster than LZMA, which packs alike.
    """
    with replace_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_BZIP2) as file:
        for name, values in buffers.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
