"""A parametric head as plain tensors: FLAME, the bundled open head, or any other with the same joints."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkEmbedding:
    """Facial points (MediaPipe's 478, or the 68 of iBUG) on the surface: a face index and barycentric coordinates each.

    `face` is -1 where a point has no place on the head; `spread` (metres) is how far the point slides over the skin
    between people and views, so a fit can trust it less.
    """

    face: Int[Tensor, "N"]
    barycentric: Float[Tensor, "N 3"]
    spread: Float[Tensor, "N"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArkitMap:
    """How the 52 ARKit weights (0..1, order of `arkit.ARKIT_NAMES`) become this head's parameters: a linear map."""

    expression: Float[Tensor, "52 E"]
    pose: Float[Tensor, "52 J 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HangingHair:
    """An open surface about a person's head at rest, its border within the head: triangles, skinning weights, UVs.

    `places` are metres, the person's shape included. `uv` are in 0..1, a chart of its own.
    """

    places: Float[Tensor, "N 3"]
    faces: Int[Tensor, "G 3"]
    weights: Float[Tensor, "N J"]
    uv: Float[Tensor, "N 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadModel:
    """Everything needed to pose a head. Metres; axes in docs/conventions.md; tensors share one device.

    `uv_faces` indexes `uv` with the same face order as `faces`. `regions` are named vertex masks.
    `hanging_hair` is what `with_hanging_hair` added to it.
    """

    name: str
    sha256: str
    template: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"]
    uv_faces: Int[Tensor, "F 3"]
    shape_dirs: Float[Tensor, "V 3 S"]
    expression_dirs: Float[Tensor, "V 3 E"]
    expression_names: tuple[str, ...]
    pose_dirs: Float[Tensor, "V 3 P"]
    joints: Float[Tensor, "J 3"]
    joint_shape_dirs: Float[Tensor, "J 3 S"]
    joint_expression_dirs: Float[Tensor, "J 3 E"]
    weights: Float[Tensor, "V J"]
    parents: tuple[int, ...]
    regions: dict[str, Bool[Tensor, "V"]]
    landmarks: LandmarkEmbedding
    landmarks68: LandmarkEmbedding
    arkit: ArkitMap
    hanging_hair: HangingHair | None = None

    @property
    def is_named(self) -> bool:
        """Whether expressions are ARKit's units, in 0..1. If not, they are components of variance 1 of any sign."""
        return all(name in ARKIT_NAMES for name in self.expression_names)

    @property
    def n_shape(self) -> int:
        """Number of shape components S."""
        return self.shape_dirs.shape[-1]

    @property
    def n_expression(self) -> int:
        """Number of expression components E."""
        return self.expression_dirs.shape[-1]

    def to(self, device: torch.device | str) -> HeadModel:
        """Return the same head with every tensor on `device`."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: object, device: torch.device | str) -> object:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    if isinstance(value, LandmarkEmbedding | ArkitMap | HangingHair):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    return value
