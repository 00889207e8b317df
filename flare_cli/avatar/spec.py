"""What an avatar is built from besides its head and its numbers: sizes, encoding, F0. Written into the avatar file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from flare_cli.config.tables import bounded, read_tables
from flare_cli.data.tensor_file import FIT_AGAIN
from flare_cli.errors import AvatarError

# What files of before version 3 leave unsaid.
_NEURAL: dict[str, Any] = {"kind": "neural", "directions": 0, "visibility_factors": 0, "videos": [0]}


# Bounds are of what a file may say: no narrower than those of the settings that a fit is made from.
@dataclass(frozen=True, slots=True, kw_only=True)
class DeformerSpec:
    """Hidden width and depth of the deformer's network."""

    width: int = bounded("hidden width", low=1, high=4096)
    depth: int = bounded("hidden layers", low=0, high=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialSpec:
    """The material field: which encoding, its sizes, and hidden width and depth of the network behind it.

    `octaves` is the positional encoding's; `hash_grid` says which backend laid out the table (docs/backends.md), and
    the numbers after it are its `GridShape`.
    """

    encoding: Literal["frequency", "hash"]
    octaves: int = bounded("octaves of the positional encoding", low=0, high=16)
    hash_grid: str
    levels: int = bounded("levels of the hash grid", low=1, high=32)
    features: int = bounded("numbers per entry", low=1, high=8)
    log2_entries: int = bounded("log2 of the entries per level", low=1, high=24)
    base_resolution: int = bounded("cells of the coarsest level", low=1, high=512)
    finest_resolution: int = bounded("cells of the finest level", low=1, high=65536)
    width: int = bounded("hidden width", low=1, high=4096)
    depth: int = bounded("hidden layers", low=0, high=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSpec:
    """The light: "neural" is a network of hidden width and depth whose radiance is at least `floor`.

    "explicit" is radiance from so many `directions`, and `visibility_factors` is the number of factors of motion in
    which what each vertex sees of them is linear; 0: it sees all. It has a light for each of `videos`.
    """

    kind: Literal["neural", "explicit"]
    width: int = bounded("hidden width", low=1, high=4096)
    depth: int = bounded("hidden layers", low=0, high=64)
    floor: float = bounded("least radiance of a neural light", low=0, high=1)
    directions: int = bounded("directions of an explicit light", low=0, high=4096)
    visibility_factors: int = bounded("factors of motion", low=0, high=256)
    videos: tuple[int, ...] = field(metadata={"help": "numbers of the videos that have a light of their own"})


@dataclass(frozen=True, slots=True, kw_only=True)
class F0:
    """Reflectance at normal incidence, 0..1: on bare skin, and on hair, eyes, teeth and inside the mouth."""

    skin: float = bounded("F0 of skin", low=0, high=1)
    other: float = bounded("F0 of all else", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarSpec:
    """Everything that decides the shapes of an avatar's tensors and how they are read.

    `subdivisions` is how often the head's triangles are divided in four, `jaw_open` the jaw's angle (radians) in the
    canonical pose, in which materials are looked up.
    """

    subdivisions: int = bounded("each makes four triangles of one", low=0, high=4)
    jaw_open: float = bounded("radians", low=-1, high=1)
    deformer: DeformerSpec
    material: MaterialSpec
    light: LightSpec
    f0: F0

    def subdivided(self) -> AvatarSpec:
        """The same with one more subdivision."""
        return replace(self, subdivisions=self.subdivisions + 1)


def spec_to_dict(spec: AvatarSpec) -> dict[str, Any]:
    """The spec as plain values for JSON."""
    return asdict(spec)


def spec_from_dict(values: Any, source: str) -> AvatarSpec:
    """Read what `spec_to_dict` wrote. Raises `AvatarError` that names `source`, and the key that is wrong."""
    return read_tables(AvatarSpec, values, source, error=AvatarError, hint=FIT_AGAIN)


def spec_of_version_3(values: dict[str, Any]) -> dict[str, Any]:
    """The spec, as plain values, of an avatar file of version 3, which knew one light for all videos."""
    return {**values, "light": {**values["light"], "videos": [0]}}


def spec_of_version_2(values: dict[str, Any]) -> dict[str, Any]:
    """The spec, as plain values, of an avatar file of version 2, which knew one kind of light."""
    return {**values, "light": {**values["light"], **_NEURAL}}


def spec_of_version_1(header: dict[str, Any]) -> dict[str, Any]:
    """The spec, as plain values, of an avatar file of version 1, which held all settings of the fit instead."""
    config, structure = header["config"], header["structure"]
    sizes, is_hash = dict(config["material"]), structure["encoding"] == "hash"
    frequency_width, frequency_depth = sizes.pop("frequency_width"), sizes.pop("frequency_depth")
    if not is_hash:
        sizes |= {"width": frequency_width, "depth": frequency_depth}
    skin, other = header["fresnel"]
    return {
        "subdivisions": structure["subdivisions"],
        "jaw_open": config["mesh"]["jaw_open"],
        "deformer": config["deformer"],
        "material": {"encoding": structure["encoding"], "hash_grid": config["run"]["hash_grid"], **sizes},
        "light": {name: config["light"][name] for name in ("width", "depth", "floor")} | _NEURAL,
        "f0": {"skin": skin, "other": other},
    }
