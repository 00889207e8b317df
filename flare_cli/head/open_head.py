"""The bundled open head (CC0): how its asset is laid out, and reading it.

`open_head.safetensors` is written by `tools/build_open_head.py`. Big arrays are float16 metres; expressions and pose
correctives are stored sparsely. The metadata carry a digest of all tensors, which is checked on loading.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import PARENTS
from flare_cli.head.landmarks68 import among_mediapipe
from flare_cli.head.model import ArkitMap, HeadModel, LandmarkEmbedding

NAME = "open-head"
FORMAT_VERSION = 1
POSE_FEATURES = 36
# Digests of earlier editions. Only teeth and tongue have moved since: what was fitted with them goes on with this one.
EARLIER = frozenset({"514e168e49c386d775ea3d15628b26b1ff32ba9cd9d2c2a0396bf1b20306c2fd"})


@functools.cache
def load_open_head() -> HeadModel:
    """The open head on the CPU, in float32. Loaded once per process; treat its tensors as read-only."""
    with resources.as_file(resources.files("flare_cli") / "assets" / "open_head.safetensors") as path:
        try:
            with safe_open(path, framework="numpy") as asset:
                metadata = json.loads(asset.metadata()["flare"])
                arrays = {name: asset.get_tensor(name) for name in asset.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise HeadError(f"the bundled open head can't be read: {error}", hint="install flare-cli again") from error
    digest = content_digest(arrays)
    if digest != metadata["sha256"]:
        raise HeadError(f"{path} is damaged: its digest is {digest[:12]}…", hint="install flare-cli again")
    return _unpacked(arrays, metadata)


def content_digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """SHA-256 over names, types, shapes and bytes of all arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _unpacked(arrays: dict[str, NDArray[np.generic]], metadata: dict[str, object]) -> HeadModel:
    def floats(name: str) -> Float[Tensor, "..."]:
        return torch.from_numpy(arrays[name].astype(np.float32))

    def integers(name: str) -> Int[Tensor, "..."]:
        return torch.from_numpy(arrays[name].astype(np.int64))

    expression_names = tuple(str(name) for name in _strings(metadata["expressions"]))
    region_names = _strings(metadata["regions"])
    template = floats("template")
    landmarks = LandmarkEmbedding(
        face=integers("landmark_face"),
        barycentric=floats("landmark_barycentric"),
        spread=floats("landmark_spread"),
    )
    joints = floats("joints")
    pose_dirs = torch.zeros(len(template), 3, POSE_FEATURES)
    pose_dirs[:, :, integers("pose_features")] = floats("pose_dirs")
    return HeadModel(
        name=NAME,
        sha256=str(metadata["sha256"]),
        template=template,
        faces=integers("faces"),
        uv=floats("uv"),
        uv_faces=integers("uv_faces"),
        shape_dirs=floats("shape_dirs"),
        expression_dirs=_dense_expressions(arrays, len(template)),
        expression_names=expression_names,
        pose_dirs=pose_dirs,
        joints=joints,
        joint_shape_dirs=floats("joint_shape_dirs"),
        joint_expression_dirs=torch.zeros(len(joints), 3, len(expression_names)),
        weights=floats("weights"),
        parents=PARENTS,
        regions={name: torch.from_numpy(arrays["regions"][i] != 0) for i, name in enumerate(region_names)},
        landmarks=landmarks,
        landmarks68=among_mediapipe(landmarks),
        arkit=ArkitMap(expression=_one_hot(expression_names), pose=floats("arkit_pose")),
    )


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def _dense_expressions(arrays: dict[str, NDArray[np.generic]], vertices: int) -> Float[Tensor, "V 3 E"]:
    starts = arrays["expression_starts"].astype(np.int64)
    dense = np.zeros((vertices, 3, len(starts) - 1), np.float32)
    for k, (a, b) in enumerate(pairwise(starts)):
        dense[arrays["expression_vertices"][a:b].astype(np.int64), :, k] = arrays["expression_values"][a:b]
    return torch.from_numpy(dense)


def _one_hot(expression_names: tuple[str, ...]) -> Float[Tensor, "52 E"]:
    chosen = torch.zeros(len(ARKIT_NAMES), len(expression_names))
    for k, name in enumerate(expression_names):
        chosen[ARKIT_NAMES.index(name), k] = 1
    return chosen
