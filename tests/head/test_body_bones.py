"""A body of bones stands in a T on the floor, and every bone's own +y points along it."""

import numpy as np
from scipy.spatial.transform import Rotation

from flare_cli.head.body_bones import NECK_HEIGHT, body_bones


def place(name: str) -> np.ndarray:
    bones = body_bones()
    return bones.positions[bones.names.index(name)]


def test_the_person_stands_in_a_t():
    assert place("LeftToeBase")[1] == place("RightToeBase")[1]
    assert abs(place("LeftToeBase")[1]) < 1e-6
    assert place("LeftToeBase")[2] > 0.1  # feet point forward, and +z is forward
    assert place("Spine2")[1] < NECK_HEIGHT
    for part in ("ForeArm", "Hand", "HandMiddle3"):
        left, right = place(f"Left{part}"), place(f"Right{part}")
        np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-9)
        assert left[0] > 0.4  # the subject's left is +x
        np.testing.assert_allclose(left[1], place("LeftShoulder")[1], atol=1e-9)
    assert place("LeftHandThumb3")[2] > place("LeftHandIndex3")[2] > place("LeftHandPinky3")[2]


def test_limbs_lie_along_their_own_y():
    bones = body_bones()
    for child, parent in enumerate(bones.parents):
        name = bones.names[child]
        if parent < 0 or name.startswith("Hips") or not any(x in name for x in ("ForeArm", "Foot", "ToeBase", "2")):
            continue
        along = (
            Rotation.from_quat(bones.rotations[parent]).inv().apply(bones.positions[child] - bones.positions[parent])
        )
        np.testing.assert_allclose(along, [0, np.linalg.norm(along), 0], atol=1e-9)


def test_parents_come_first_and_names_are_unique():
    bones = body_bones()
    assert all(parent < child for child, parent in enumerate(bones.parents))
    assert len(set(bones.names)) == len(bones.names) == 50
