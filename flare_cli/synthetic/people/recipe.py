"""What a synthetic person is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HeadKind = Literal["open-head", "ict"]
SkinKind = Literal["light", "medium", "dark"]
HairKind = Literal["cap", "strands", "long"]
ClothKind = Literal["plain", "stripes", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecipe:
    """Everything about a person; the same recipe makes the same person. `stubble` is 0 (shaved) to 1 (a few days)."""

    head: HeadKind
    seed: int
    skin: SkinKind = "light"
    hair: HairKind = "cap"
    stubble: float = 0.0
    glasses: bool = False
    cloth: ClothKind = "plain"
