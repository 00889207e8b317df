"""What an avatar is built from besides its head and its numbers: sizes, encoding, F0. Written into the avatar file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

# What files of before version 3 leave unsaid.
_NEURAL: dict[str, Any] = {"kind": "neural", "directions": 0, "visibility_factors": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeformerSpec:
    """Hidden width and depth of the deformer's network."""

    width: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialSpec:
    """The material field: which encoding, its sizes, and hidden width and depth of the network behind it.

    `octaves` is the positional encoding's; `hash_grid` says which backend laid out the table (docs/backends.md), and
    the numbers after it are its `GridShape`.
    """

    encoding: Literal["frequency", "hash"]
    octaves: int
    hash_grid: str
    levels: int
    features: int
    log2_entries: int
    base_resolution: int
    finest_resolution: int
    width: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSpec:
    """The light: "neural" is a network of hidden width and depth whose radiance is at least `floor`.

    "explicit" is radiance from so many `directions`, and `visibility_factors` is the number of factors of motion in
    which what each vertex sees of them is linear; 0: it sees all.
    """

    kind: Literal["neural", "explicit"]
    width: int
    depth: int
    floor: float
    directions: int
    visibility_factors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class F0:
    """Reflectance at normal incidence, 0..1: on bare skin, and on hair, eyes, teeth and inside the mouth."""

    skin: float
    other: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarSpec:
    """Everything that decides the shapes of an avatar's tensors and how they are read.

    `subdivisions` is how often the head's triangles are divided in four, `jaw_open` the jaw's angle (radians) in the
    canonical pose, in which materials are looked up.
    """

    subdivisions: int
    jaw_open: float
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


def spec_from_dict(values: dict[str, Any]) -> AvatarSpec:
    """Read what `spec_to_dict` wrote. Raises `KeyError` or `TypeError` where something is missing or unknown."""
    return AvatarSpec(
        subdivisions=int(values["subdivisions"]),
        jaw_open=float(values["jaw_open"]),
        deformer=DeformerSpec(**values["deformer"]),
        material=MaterialSpec(**values["material"]),
        light=LightSpec(**values["light"]),
        f0=F0(**values["f0"]),
    )


def spec_of_version_2(values: dict[str, Any]) -> AvatarSpec:
    """The spec of an avatar file of version 2, which knew one kind of light."""
    return spec_from_dict({**values, "light": {**values["light"], **_NEURAL}})


def spec_of_version_1(header: dict[str, Any]) -> AvatarSpec:
    """The spec of an avatar file of version 1, which held all settings of the fit instead."""
    config, structure = header["config"], header["structure"]
    sizes, is_hash = dict(config["material"]), structure["encoding"] == "hash"
    frequency_width, frequency_depth = sizes.pop("frequency_width"), sizes.pop("frequency_depth")
    if not is_hash:
        sizes |= {"width": frequency_width, "depth": frequency_depth}
    skin, other = header["fresnel"]
    return AvatarSpec(
        subdivisions=int(structure["subdivisions"]),
        jaw_open=float(config["mesh"]["jaw_open"]),
        deformer=DeformerSpec(**config["deformer"]),
        material=MaterialSpec(encoding=structure["encoding"], hash_grid=config["run"]["hash_grid"], **sizes),
        light=LightSpec(**{name: config["light"][name] for name in ("width", "depth", "floor")}, **_NEURAL),
        f0=F0(skin=float(skin), other=float(other)),
    )
