"""Five joints, smooth skinning weights, and what jaw opening does beyond skinning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from topology import MIRROR, HeadMesh

PARENTS = (-1, 0, 1, 1, 1)
JAW_OPEN = "faceunits01/targets/faceunits/jawOpen.target"


@dataclass(frozen=True)
class Rig:
    """`jaw_angle` is the rotation (radians about x) that MakeHuman's artist gave ARKit's jawOpen."""

    joints: np.ndarray  # (5, 3)
    jaw_offset: np.ndarray  # from MakeHuman's mouth joint to the artist's pivot
    jaw_angle: float
    weights: np.ndarray  # (V, 5)
    jaw_corrective: np.ndarray  # (V, 3), to add before skinning at jaw_angle


def build_rig(mesh: HeadMesh) -> Rig:
    data = mesh.data
    opened = data.target(JAW_OPEN)
    teeth = data.vertex_groups["helper-lower-teeth"]
    angle, pivot = _rotation_about_x(data.vertices[teeth], (data.vertices + opened)[teeth])
    jaw_offset = np.array([0.0, *(pivot - data.vertices[data.vertex_groups["joint-mouth"]].mean(0)[1:])])
    joints = joints_of(mesh, jaw_offset, np.zeros_like(data.vertices))

    motion = mesh.displacement(opened)
    motion = (motion + mesh.mirrored(motion)) / 2
    for eye in mesh.eyes.values():
        motion[eye.vertices] = 0
    swing = (mesh.rest - joints[2]) @ (_rotation_x(angle) - np.eye(3)).T
    weights = _weights(mesh, motion, swing)
    corrective = before_jaw_open(weights, angle, motion - weights[:, 2:3] * swing)
    corrective[mesh.mask("upper_teeth", "lower_teeth")] = 0  # teeth are rigid
    return Rig(joints, jaw_offset, angle, weights, corrective)


def before_jaw_open(weights: np.ndarray, angle: float, displacement: np.ndarray) -> np.ndarray:
    """The displacement before skinning that becomes `displacement` once the jaw is open."""
    blended = np.eye(3) + weights[:, 2, None, None] * (_rotation_x(angle) - np.eye(3))
    return np.linalg.solve(blended, displacement[..., None])[..., 0]


def joints_of(mesh: HeadMesh, jaw_offset: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Joints of the average adult moved by a whole-body displacement."""
    data = mesh.data
    groups = ("joint-neck", "joint-head", "joint-mouth")
    neck, head, mouth = ((data.average_adult + body)[data.vertex_groups[group]].mean(0) for group in groups)
    eyes = [eye.centre + mesh.eye_motion(body, eye)[0] for eye in mesh.eyes.values()]
    return np.array([neck, head, mouth + jaw_offset, *eyes])


def _rotation_about_x(before: np.ndarray, after: np.ndarray) -> tuple[float, np.ndarray]:
    """The best rotation in the (y, z) plane between two point sets, and its fixed point."""
    a, b = before[:, 1:], after[:, 1:]
    covariance = (a - a.mean(0)).T @ (b - b.mean(0))
    angle = float(np.arctan2(covariance[0, 1] - covariance[1, 0], covariance[0, 0] + covariance[1, 1]))
    rotation = _rotation_x(angle)[1:, 1:]
    return angle, np.linalg.solve(np.eye(2) - rotation, b.mean(0) - rotation @ a.mean(0))


def _rotation_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _weights(mesh: HeadMesh, jaw_motion: np.ndarray, jaw_swing: np.ndarray) -> np.ndarray:
    data, n = mesh.data, len(mesh.source)
    neck = [data.weights_below(bone)[mesh.source] for bone in ("neck01", "neck02", "neck03", "head")]
    head = np.ones(len(mesh.rest))
    head[:n] = np.clip((neck[0] + neck[1] + neck[2] + 3 * neck[3]) / 6, 0, 1)  # a smooth ramp along the neck
    inside = mesh.mask("upper_teeth", "lower_teeth", "tongue")
    head[inside] = 1
    jaw = np.clip((jaw_swing * jaw_motion).sum(1) / np.maximum((jaw_swing**2).sum(1), 1e-6), 0, 1)
    jaw[mesh.mask("upper_teeth", *mesh.eyes)] = 0
    jaw[mesh.mask("lower_teeth")] = 1
    jaw = _relaxed(mesh, jaw, hold=(jaw > 0.97) | (np.abs(jaw_motion).sum(1) < 1e-6) | ~mesh.mask("skin"))

    weights = np.stack([1 - head, head * (1 - jaw), head * jaw, 0 * head, 0 * head], 1)
    weights = (weights + weights[mesh.mirror]) / 2
    for joint, eye in enumerate(mesh.eyes.values(), start=3):
        weights[eye.vertices] = np.eye(5)[joint]
    return weights


def _relaxed(mesh: HeadMesh, values: np.ndarray, *, hold: np.ndarray) -> np.ndarray:
    """Average twice with the neighbours, except where held."""
    edges = np.concatenate([mesh.faces[:, [i, j]] for i, j in ((0, 1), (1, 2), (2, 0))])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(values),) * 2).tocsr()
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1)
    for _ in range(2):
        values = np.where(hold, values, 0.5 * values + 0.5 * (graph @ values) / degree)
    return values


def symmetric_joints(joints: np.ndarray) -> np.ndarray:
    """The average of joints (..., 5, 3) and their mirror image."""
    return (joints + joints[..., [0, 1, 2, 4, 3], :] * MIRROR) / 2
