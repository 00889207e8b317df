"""A head in the layout of GNM Head v3 (github.com/google/GNM): names and shapes as documented, nothing of its content.

It is another person of the open head, jaw joint and all turned into expression components, in centimetres and with
other axes. Component counts are small.
"""

import functools
from pathlib import Path

import numpy as np

from flare_cli.head.joints import Joint
from flare_cli.head.open_head import load_open_head

SHAPES = 20
# To the file's axes: x to the subject's right, y forward, z up.
AXES, UNIT, SHIFT = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]), 100.0, np.array([3.0, -2.0, 40.0])


@functools.cache
def build_gnm_like() -> dict[str, np.ndarray]:
    head = load_open_head()
    person = 0.5 * np.random.default_rng(4).normal(size=head.n_shape) * (np.arange(head.n_shape) < 10)
    template = head.template.double().numpy() + head.shape_dirs.double().numpy() @ person
    joints = head.joints.double().numpy() + head.joint_shape_dirs.double().numpy() @ person
    weights = head.weights.double().numpy()
    opening = 0.1 * weights[:, Joint.JAW, None] * np.cross([1.0, 0, 0], template - joints[Joint.JAW])
    units = head.expression_dirs.double().numpy().transpose(2, 0, 1)
    order = [f"{kind}_{k:03d}" for kind, count in (("left_eye_region", 12), ("lower_face_region", len(units) - 12))
             for k in range(count)]  # fmt: skip
    merged = np.stack([weights[:, Joint.ROOT], weights[:, Joint.NECK] + weights[:, Joint.JAW],
                       weights[:, Joint.EYE_LEFT], weights[:, Joint.EYE_RIGHT]])  # fmt: skip
    regions = {name: mask.numpy().astype(np.float64) for name, mask in head.regions.items()}
    lower = regions["teeth"] * (weights[:, Joint.JAW] > 0.5)
    groups = {"upper_teeth": regions["teeth"] - lower, "lower_teeth": lower, "tongue": regions["tongue"]}
    four = [Joint.ROOT, Joint.NECK, Joint.EYE_LEFT, Joint.EYE_RIGHT]
    V = len(template)
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": UNIT * template @ AXES.T + SHIFT,
        "template_joint_positions": UNIT * joints[four] @ AXES.T + SHIFT,
        "vertex_identity_basis": UNIT * head.shape_dirs.double().numpy()[..., :SHAPES].transpose(2, 0, 1) @ AXES.T,
        "joint_identity_basis": UNIT
        * head.joint_shape_dirs.double().numpy()[four][..., :SHAPES].transpose(2, 0, 1)
        @ AXES.T,
        "expression_basis": UNIT * np.concatenate([opening[None], units]) @ AXES.T,
        "expression_names": np.array(["lower_face_region_000", *[n.replace("_0", "_1", 1) for n in order]]),
        "identity_names": np.array([f"head_{k:03d}" for k in range(SHAPES)]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "joint_parent_indices": np.array([-1, 0, 1, 1]),
        "skinning_weights": merged,
        "triangles": head.faces.numpy().astype(np.int32),
        "pose_correctives_regressor": np.zeros((36, 3 * V), np.float32),
        "vertex_groups": np.stack(list(groups.values())),
        "vertex_group_names": np.array(list(groups)),
    }


def write_gnm_like(path: Path, **changed: np.ndarray | None) -> Path:
    """Write it; `changed` replaces arrays, None leaves one out."""
    arrays = {name: value for name, value in (build_gnm_like() | changed).items() if value is not None}
    np.savez(path, **{n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()})
    return path
