"""What VRM 1.0 adds to a glTF file: which bone is which, how faces are made of morphs, and what one may do with it.

https://github.com/vrm-c/vrm-specification/tree/master/specification/VRMC_vrm-1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VRM = "VRMC_vrm"
# Eyes turn so far (degrees) while what is looked at is up to 90 degrees aside.
_EYE_REACH = {
    "rangeMapHorizontalInner": 25.0,
    "rangeMapHorizontalOuter": 25.0,
    "rangeMapVerticalDown": 20.0,
    "rangeMapVerticalUp": 20.0,
}
# The strictest that VRM knows: it is a person's face. Whoever is shown may write other terms into the file.
_PERMISSIONS: dict[str, Any] = {
    "licenseUrl": "https://vrm.dev/licenses/1.0/",
    "avatarPermission": "onlyAuthor",
    "allowExcessivelyViolentUsage": False,
    "allowExcessivelySexualUsage": False,
    "commercialUsage": "personalNonProfit",
    "allowPoliticalOrReligiousUsage": False,
    "allowAntisocialOrHateUsage": False,
    "creditNotation": "required",
    "allowRedistribution": False,
    "modification": "prohibited",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vrm:
    """Joints by VRM's names of bones; morphs and their weights by the names of VRM's expressions, and of others.

    `eyes_from_head` is the place between the eyes as the head's joint sees it, in metres.
    """

    bones: Mapping[str, str]
    expressions: Mapping[str, Mapping[str, float]]
    custom_expressions: Mapping[str, Mapping[str, float]]
    eyes_from_head: tuple[float, float, float]


def vrm_extension(
    vrm: Vrm, *, name: str, mesh_node: int, nodes: Mapping[str, int], morphs: Mapping[str, int]
) -> dict[str, Any]:
    """The value of the extension `VRMC_vrm` of an avatar; `nodes` and `morphs` are indices by name."""

    def expression(weights: Mapping[str, float]) -> dict[str, Any]:
        binds = [{"node": mesh_node, "index": morphs[morph], "weight": weight} for morph, weight in weights.items()]
        return {"morphTargetBinds": binds} if binds else {}

    reach = {side: {"inputMaxValue": 90.0, "outputScale": most} for side, most in _EYE_REACH.items()}
    return {
        "specVersion": "1.0",
        "meta": {"name": name, "authors": [name], **_PERMISSIONS},
        "humanoid": {"humanBones": {bone: {"node": nodes[joint]} for bone, joint in vrm.bones.items()}},
        "firstPerson": {"meshAnnotations": [{"node": mesh_node, "type": "auto"}]},
        "lookAt": {"type": "bone", "offsetFromHeadBone": list(vrm.eyes_from_head), **reach},
        "expressions": {
            "preset": {key: expression(weights) for key, weights in vrm.expressions.items()},
            "custom": {key: expression(weights) for key, weights in vrm.custom_expressions.items()},
        },
    }
