"""ARKit's face units as displacements of the head, with lids that stay outside the eyeballs."""

from __future__ import annotations

import numpy as np
from topology import HeadMesh

FOLDER = "faceunits01/targets/faceunits"
LID_GAP = 0.0003  # metres between a lid and the eyeball
EYE_UNITS = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")


def face_units(mesh: HeadMesh) -> dict[str, np.ndarray]:
    """Every ARKit unit as (V, 3), left and right exactly mirrored; eyeballs stay (they are joints)."""
    raw = {}
    for name, path in mesh.data.targets_in(FOLDER, ".target").items():
        raw[name] = mesh.displacement(mesh.data.target(path))
        raw[name][mesh.mask(*mesh.eyes)] = 0
    return {name: (raw[name] + mesh.mirrored(raw[_opposite(name)])) / 2 for name in raw}


def _opposite(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def gaze_angles(mesh: HeadMesh) -> dict[str, np.ndarray]:
    """Axis-angle by which each eyeLook unit turns its own eyeball (MakeHuman moves the eyeball's vertices)."""
    angles = {}
    for name, path in mesh.data.targets_in(FOLDER, ".target").items():
        if name.startswith("eyeLook"):
            eye = mesh.eyes["eyeball_left" if name.endswith("Left") else "eyeball_right"]
            before = mesh.data.vertices[eye.helper]
            after = before + mesh.data.target(path)[eye.helper]
            angles[name] = _axis_angle(before - before.mean(0), after - after.mean(0))
    return angles


def _axis_angle(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(before.T @ after)
    rotation = vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    return axis / max(np.linalg.norm(axis), 1e-12) * angle


def cleared_of_eyes(mesh: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """Push skin in front of an eye's middle out of the eyeball, away from its centre, to `LID_GAP` above it."""
    skin = mesh.parts["skin"]
    out = vertices.copy()
    for eye in mesh.eyes.values():
        ball = vertices[eye.vertices]
        centre = (ball[0] + ball[-1]) / 2
        radius = np.linalg.norm(ball - centre, axis=1).max() + LID_GAP
        offset = vertices[skin] - centre
        distance = np.linalg.norm(offset, axis=1)
        cut = skin[(distance < radius) & (offset[:, 2] > 0)]
        offset, distance = vertices[cut] - centre, np.linalg.norm(vertices[cut] - centre, axis=1)
        out[cut] = centre + offset / distance[:, None] * radius
    return out


def with_clear_lids(mesh: HeadMesh, template: np.ndarray, units: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The units, changed where a lid they move would end inside the eyeball."""
    moves_lids = {name for name in units if name.startswith(EYE_UNITS)}
    return {
        name: cleared_of_eyes(mesh, template + unit) - template if name in moves_lids else unit
        for name, unit in units.items()
    }
