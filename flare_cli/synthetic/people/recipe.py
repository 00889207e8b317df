"""What a synthetic person is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flare_cli.config.schema import setting

HeadKind = Literal["open-head", "ict"]
SkinKind = Literal["light", "medium", "dark"]
HairKind = Literal["cap", "strands", "long"]
ClothKind = Literal["plain", "stripes", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecipe:
    """[person] Everything about a person; the same recipe makes the same person."""

    head: HeadKind = setting("open-head", "our head model, or ICT-FaceKit's (which needs its data)")
    seed: int = setting(0, "which face of that head", low=0)
    skin: SkinKind = setting("light", "amount of melanin")
    hair: HairKind = setting("cap", "a smooth cap, short strands, or long ones")
    stubble: float = setting(0.0, "0 is shaved, 1 a few days' growth", low=0, high=1)
    glasses: bool = setting(False, "whether glasses are worn")
    cloth: ClothKind = setting("plain", "pattern of the shirt")
