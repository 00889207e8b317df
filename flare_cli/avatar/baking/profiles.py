"""Whose names and bones a rig has: what programs look for before they move a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from flare_cli.data.meshes.gltf import Skin
from flare_cli.data.meshes.vrm import Vrm
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.body_bones import NECK_HEIGHT, NECK_PARENT, Bones, body_bones
from flare_cli.head.joints import JOINT_NAMES, PARENTS, Joint
from flare_cli.head.visemes import vrm_expressions

Profile: TypeAlias = Literal["arkit", "rpm", "unreal", "vrm"]
"""ARKit's names and no more; Ready Player Me's; Unreal's, as Live Link Face sends them; VRM 1.0."""

_PEOPLE = ("Neck", "Head", "Jaw", "LeftEye", "RightEye")  # of Mixamo's and Ready Player Me's skeletons


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Names of the head's joints, in their order, and what stands around them.

    `body` are bones without a surface that the head's root hangs from, at the bone `neck_parent`; the head is put
    where their neck is. `scene` is what holds mesh and bones (a node above a skinned mesh is bad glTF). `talks` adds
    visemes, `pascal` writes morphs as Live Link Face does (EyeBlinkLeft), `dense` stores all of a morph, for readers
    that know no sparse ones.
    """

    joints: tuple[str, ...]
    body: Bones | None = None
    neck_parent: str = ""
    scene: str | None = None
    talks: bool = False
    pascal: bool = False
    dense: bool = False

    def morph(self, arkit_name: str) -> str:
        """What an ARKit unit is called."""
        return pascal(arkit_name) if self.pascal else arkit_name

    def lift(self, root: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        """What is added to all positions so that a head whose root joint is at `root` stands on its body."""
        return np.zeros(3) if self.neck_parent != NECK_PARENT else np.array([0.0, NECK_HEIGHT, 0.0]) - root


def naming(profile: Profile) -> Naming:
    """The names of a profile."""
    if profile == "rpm":
        return Naming(joints=_PEOPLE, body=body_bones(), neck_parent=NECK_PARENT, scene="Armature", talks=True)
    if profile == "vrm":
        return Naming(joints=_PEOPLE, body=body_bones(), neck_parent=NECK_PARENT)
    if profile == "unreal":
        # Mannequins' names to the head, MetaHumans' in the face; an import wants one bone above all, at the origin.
        root = Bones(names=("root",), parents=(-1,), positions=np.zeros((1, 3)), rotations=np.array([[0, 0, 0, 1.0]]))
        joints = ("neck_01", "head", "FACIAL_C_Jaw", "FACIAL_L_Eye", "FACIAL_R_Eye")
        return Naming(joints=joints, body=root, neck_parent="root", pascal=True, dense=True)
    return Naming(joints=JOINT_NAMES)


def skin(names: Naming, positions: Float[np.ndarray, "5 3"], weights: Float[np.ndarray, "V 5"]) -> Skin:
    """The head's joints after those of the body, which no vertex follows. Positions are already lifted."""
    body = names.body
    if body is None:
        return Skin(names=names.joints, parents=PARENTS, positions=positions, weights=weights)
    before = len(body.names)
    upright = np.tile([0.0, 0.0, 0.0, 1.0], (len(positions), 1))
    neck_parent = body.names.index(names.neck_parent)
    return Skin(
        names=(*body.names, *names.joints),
        parents=(*body.parents, *(neck_parent if parent < 0 else before + parent for parent in PARENTS)),
        positions=np.concatenate([body.positions, positions]),
        rotations=np.concatenate([body.rotations, upright]),
        weights=np.concatenate([np.zeros((len(weights), before)), weights], 1),
    )


def vrm(positions: Float[np.ndarray, "5 3"]) -> Vrm:
    """What VRM wants to know of a rig of the profile `vrm`."""
    eyes = positions[[Joint.EYE_LEFT, Joint.EYE_RIGHT]].mean(0) - positions[Joint.NECK]
    return Vrm(
        bones=_vrm_bones(),
        expressions=vrm_expressions(),
        # The 52 under their own names, which face trackers look for ("Perfect Sync"); written as these write them.
        custom_expressions={pascal(name): {name: 1.0} for name in ARKIT_NAMES},
        eyes_from_head=(float(eyes[0]), float(eyes[1]), float(eyes[2])),
    )


def pascal(name: str) -> str:
    """`eyeBlinkLeft` as `EyeBlinkLeft`."""
    return name[0].upper() + name[1:]


def _vrm_bones() -> dict[str, str]:
    """VRM's names of bones -> ours."""
    bones = {"hips": "Hips", "spine": "Spine", "chest": "Spine1", "upperChest": "Spine2", "neck": "Neck"}
    bones |= {"head": "Head", "jaw": "Jaw", "leftEye": "LeftEye", "rightEye": "RightEye"}
    limbs = {"Shoulder": "Shoulder", "UpperArm": "Arm", "LowerArm": "ForeArm", "Hand": "Hand"}
    limbs |= {"UpperLeg": "UpLeg", "LowerLeg": "Leg", "Foot": "Foot", "Toes": "ToeBase"}
    thumb, finger = ("Metacarpal", "Proximal", "Distal"), ("Proximal", "Intermediate", "Distal")
    limbs |= {f"Thumb{part}": f"HandThumb{n}" for n, part in enumerate(thumb, 1)}
    for theirs, ours in (("Index", "Index"), ("Middle", "Middle"), ("Ring", "Ring"), ("Little", "Pinky")):
        limbs |= {f"{theirs}{part}": f"Hand{ours}{n}" for n, part in enumerate(finger, 1)}
    for side, ours in (("left", "Left"), ("right", "Right")):
        bones |= {f"{side}{theirs}": f"{ours}{name}" for theirs, name in limbs.items()}
    return bones
