"""The truth beside a synthetic subject (docs/formats.md), on the subject's own pixels and in camera axes.

A subject whose track is given has the truth's pixels. One that was tracked in the film has a crop of them, and a world
of its own: directions are compared in the axes of the camera, which are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from flare_cli.avatar.maps import SurfaceMaps
from flare_cli.config.tables import read_tables
from flare_cli.data.array_file import read_npz
from flare_cli.data.celebamask import CLOTHES, FACE
from flare_cli.data.checked import member, numbers
from flare_cli.data.crop import Crop
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_grey
from flare_cli.data.json_file import read_json
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras
from flare_cli.render.light.environment import prefilter
from flare_cli.render.light.shading import Light
from flare_cli.render.light.turned import TurnedLight
from flare_cli.subject.folder import Subject

# The reflectance at normal incidence of the lobe whose intensity is the truth's `specular`.
F0 = 0.04
COVERED = 0.5  # a pixel is of the head where it covers more than this part of it
PICTURE = ("radiance", "coverage", "label")
SURFACE = (*PICTURE, "albedo", "roughness", "normal", "depth")
MAKE_TRUTH = "score a subject of `flare synth`, or leave out --truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruePicture:
    """N pictures of the truth: linear radiance over black, and which pixels count.

    `filmed` is false where a subject's crop reaches beyond the film.
    """

    radiance: Float[Tensor, "N H W 3"]
    coverage: Float[Tensor, "N H W"]
    label: UInt8[Tensor, "N H W"]
    filmed: Bool[Tensor, "N H W"]

    def head(self) -> Bool[Tensor, "N H W"]:
        """Pixels that are scored: more than half of the head, and not clothes."""
        return (self.coverage > COVERED) & self.counted()

    def face(self) -> Bool[Tensor, "N H W"]:
        """Those of them on skin, brows, eyes, nose and lips."""
        return (self.coverage > COVERED) & _is_one_of(self.label, FACE)

    def counted(self) -> Bool[Tensor, "N H W"]:
        """Pixels that may count: not of clothes or necklace, nor of a crop beyond the film's border."""
        return ~_is_one_of(self.label, CLOTHES) & self.filmed


def _is_one_of(label: UInt8[Tensor, "N H W"], labels: tuple[int, ...]) -> Bool[Tensor, "N H W"]:
    return torch.isin(label, torch.tensor(labels, dtype=label.dtype, device=label.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relit:
    """The frames under another light: its map (linear, in the truth's world), and the pictures."""

    envmap: Float[Tensor, "h w 3"]
    radiance: Float[Tensor, "N H W 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueView:
    """Some of the frames, by their place among the truth's, from another camera and under the recording's light."""

    frames: Int[Tensor, " M"]
    camera: Cameras
    picture: TruePicture


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueMesh:
    """The person's control mesh in every frame: camera axes, metres. `labels` are the vertices'."""

    vertices: Float[Tensor, "N V 3"]
    faces: Int[Tensor, "F 3"]
    labels: UInt8[Tensor, " V"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the frames `numbers` of a subject were made of, under the light of `envmap` (linear, in its world)."""

    numbers: tuple[int, ...]
    camera: Cameras
    picture: TruePicture
    maps: SurfaceMaps
    envmap: Float[Tensor, "h w 3"]
    relit: Mapping[str, Relit]
    views: Mapping[str, TrueView]
    mesh: TrueMesh | None

    @cached_property
    def light(self) -> Light:
        """The recording's light, asked in camera axes."""
        return TurnedLight(prefilter(self.envmap), self.camera.camera_from_world[0, :, :3].T)

    @cached_property
    def inside(self) -> Bool[Tensor, "N H W"]:
        """`TruePicture.head` of the frames."""
        return self.picture.head()

    @cached_property
    def face(self) -> Bool[Tensor, "N H W"]:
        """`TruePicture.face` of the frames."""
        return self.picture.face()


def truth_folder(subject: Subject) -> Path:
    """Where a subject's truth is, whether or not it exists."""
    return subject.folder / str(subject.source.get("truth", "truth"))


def frames_with_truth(subject: Subject) -> list[int]:
    """The held-out frames of the track that have truth. Raises `SubjectError` where there are none."""
    folder = truth_folder(subject)
    recipe = folder / "recipe.json"
    if not recipe.is_file():
        raise SubjectError(f"{subject.folder} has no truth: {recipe} is missing", hint=MAKE_TRUTH)
    first = read_json(recipe, hint=MAKE_TRUTH).get("held_out_from")
    if not isinstance(first, int):
        raise SubjectError(f"{recipe} does not say from which frame on frames are held out", hint=MAKE_TRUTH)
    numbers = [n for n in subject.track.frames.tolist() if n >= first and (folder / f"{n}.npz").is_file()]
    if not numbers:
        raise SubjectError(
            f"{subject.folder} has no tracked frame with truth from {first} on", hint="finish it with `flare synth`"
        )
    return numbers


def load_truth(
    subject: Subject,
    numbers: list[int],
    height: int,
    width: int,
    *,
    device: torch.device | str = "cpu",
    maps_only: bool = False,
) -> Truth:
    """Read the truth of the frames `numbers`, on the pixels of the subject's pictures at `height` x `width`.

    With `maps_only` without other lights, other cameras and the mesh, which training frames do not have.
    Raises `SubjectError` for a file that is missing or damaged.
    """
    folder = truth_folder(subject)
    reader = _Reader(subject, folder, height, width, device)
    stored = reader.frames(folder, numbers, SURFACE)
    camera = reader.camera(folder / "camera.json", otherwise=subject.track.camera[:1])
    rotation = camera.camera_from_world[0, :, :3]
    return Truth(
        numbers=tuple(numbers),
        camera=camera,
        picture=reader.picture(stored),
        maps=reader.maps(stored, rotation),
        envmap=reader.envmap(folder),
        relit={} if maps_only else reader.relit(numbers),
        views={} if maps_only else reader.views(numbers),
        mesh=None if maps_only else reader.mesh(stored, camera),
    )


class _Reader:
    """Truth files of one subject as tensors on its pixels."""

    def __init__(self, subject: Subject, folder: Path, height: int, width: int, device: torch.device | str) -> None:
        self.folder, self.device = folder, device
        self._subject, self._height, self._width = subject, height, width
        crop = subject.source.get("crop")
        where = f"{subject.folder / 'flare.json'}, crop"
        self._crop = None if crop is None else read_tables(Crop, crop, where, error=SubjectError, hint=MAKE_TRUTH)

    def frames(self, folder: Path, numbers: list[int], names: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
        """The buffers of these frames as float32 (labels as they are), among them those called `names`."""

        def read(number: int) -> dict[str, np.ndarray]:
            arrays = read_arrays(folder / f"{number}.npz")
            if "label" not in arrays and folder == self.folder and self._crop is None:
                # Recordings of before have their labels among the pictures alone.
                arrays["label"] = read_grey(self._subject.label_path(number))
            lacks = [name for name in names if name not in arrays]
            if lacks:
                raise SubjectError(f"{folder / f'{number}.npz'} holds no {lacks[0]}", hint=MAKE_TRUTH)
            vertices = {"vertices": arrays.pop("vertices")} if "vertices" in arrays else {}
            filmed = np.ones(arrays["radiance"].shape[:2], bool)
            return {**self._on_pixels({**arrays, "filmed": filmed}), **vertices}

        # One after the other: numpy parses each array's header, and Python 3.11's parser counts threads together
        # ("AST constructor recursion depth mismatch", seen in a run of the tests).
        return [read(number) for number in numbers]

    def stack(self, frames: list[dict[str, np.ndarray]], name: str) -> Tensor:
        """One buffer of all frames."""
        return torch.from_numpy(np.stack([frame[name] for frame in frames])).to(self.device)

    def picture(self, frames: list[dict[str, np.ndarray]]) -> TruePicture:
        """What counts in these frames."""
        return TruePicture(**{name: self.stack(frames, name) for name in (*PICTURE, "filmed")})

    def maps(self, frames: list[dict[str, np.ndarray]], rotation: Float[Tensor, "3 3"]) -> SurfaceMaps:
        """Their surface, with normals in camera axes."""
        coverage = self.stack(frames, "coverage")
        ones = torch.ones_like(coverage)
        return SurfaceMaps(
            coverage=coverage,
            albedo=self.stack(frames, "albedo"),
            roughness=self.stack(frames, "roughness"),
            specular=self.stack(frames, "specular") if "specular" in frames[0] else ones,
            f0=F0 * ones,
            normal=torch.nn.functional.normalize(self.stack(frames, "normal") @ rotation.T, dim=-1),
            depth=self.stack(frames, "depth"),
        )

    def envmap(self, folder: Path) -> Float[Tensor, "H W 3"]:
        """The light of a folder."""
        return torch.from_numpy(load_envmap(folder / "light.hdr")).to(self.device)

    def camera(self, path: Path, *, otherwise: Cameras | None = None) -> Cameras:
        """A camera of the truth as it films the subject's pixels."""
        if otherwise is not None and not path.is_file():
            return otherwise.resized(self._height, self._width).to(self.device)
        said = read_json(path, hint=MAKE_TRUTH)
        parts = (("intrinsics", (4,)), ("size", (2,)), ("camera_from_world", (3, 4)))
        lens, size, seen = (numbers(member(said, name, path), shape, path, name) for name, shape in parts)
        (fx, fy, cx, cy), (height, width) = lens, size
        if self._crop is not None:
            (cx, cy), height, width = self._crop.from_source(np.array([cx, cy])), self._crop.size, self._crop.size
            fx, fy = np.array([fx, fy]) * self._crop.size / self._crop.side
        intrinsics = torch.tensor([[fx, fy, cx, cy]], dtype=torch.float32, device=self.device)
        view = torch.tensor(seen, dtype=torch.float32, device=self.device)[None]
        cameras = Cameras(intrinsics=intrinsics, camera_from_world=view, height=int(height), width=int(width))
        return cameras.resized(self._height, self._width)

    def relit(self, numbers: list[int]) -> dict[str, Relit]:
        """The frames under every other light."""
        relit: dict[str, Relit] = {}
        for place in _folders(self.folder / "relit"):
            radiance = self.stack(self.frames(place, numbers, ("radiance",)), "radiance")
            relit[place.name] = Relit(envmap=self.envmap(place), radiance=radiance)
        return relit

    def views(self, numbers: list[int]) -> dict[str, TrueView]:
        """What every other camera saw of these frames, if it saw any."""
        views: dict[str, TrueView] = {}
        for place in _folders(self.folder / "views"):
            seen = [i for i, number in enumerate(numbers) if (place / f"{number}.npz").is_file()]
            if seen:
                views[place.name] = TrueView(
                    frames=torch.tensor(seen),
                    camera=self.camera(place / "camera.json"),
                    picture=self.picture(self.frames(place, [numbers[i] for i in seen], PICTURE)),
                )
        return views

    def mesh(self, frames: list[dict[str, np.ndarray]], camera: Cameras) -> TrueMesh | None:
        """The control mesh; None of recordings that don't have it."""
        if not (self.folder / "mesh.npz").is_file():
            return None
        mesh = read_arrays(self.folder / "mesh.npz")
        seen = camera.camera_from_world[0]
        return TrueMesh(
            vertices=self.stack(frames, "vertices") @ seen[:, :3].T + seen[:, 3],
            faces=torch.from_numpy(mesh["faces"]).to(self.device),
            labels=torch.from_numpy(mesh["labels"]).to(self.device),
        )

    def _on_pixels(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Pictures on the subject's pixels: means over the pixels' area, of surfaces weighted by their coverage."""
        pictures = arrays
        if self._crop is not None:
            pictures = {name: self._crop.cut(values) for name, values in arrays.items()}
        if all(values.shape[:2] == (self._height, self._width) for values in pictures.values()):
            return pictures
        over_black = {"radiance": self._resized(pictures["radiance"])}
        if "coverage" not in pictures:
            return over_black
        coverage = self._resized(pictures["coverage"])
        result = {**over_black, "coverage": coverage}
        for name, values in pictures.items():
            if name in ("label", "filmed"):
                size = (self._width, self._height)
                nearest = cv2.resize(values.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
                result[name] = nearest.astype(values.dtype)
            elif name not in result:
                layers = (1,) * (values.ndim - 2)
                total = self._resized(values * pictures["coverage"].reshape(*values.shape[:2], *layers))
                result[name] = total / np.maximum(coverage, 1e-6).reshape(*coverage.shape, *layers)
        return result

    def _resized(self, values: Float[np.ndarray, "H W *C"]) -> Float[np.ndarray, "h w *C"]:
        shrinks = values.shape[0] > self._height
        return cv2.resize(
            values, (self._width, self._height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir())


def read_arrays(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an .npz file, half floats as float32. Raises `SubjectError` if it is missing or damaged."""
    arrays = read_npz(path, error=SubjectError, hint=MAKE_TRUTH)
    return {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in arrays.items()}
