"""Reading ICT-FaceKit, and driving its expressions by ARKit's weights."""

import numpy as np
import pytest

from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.synthetic.people.ict_head import arkit_matrix, arkit_units, load_ict_head
from flare_cli.synthetic.people.ict_person import ball_centre

# The light model's expressions, from its README.
SIDED = [
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekPuff",
    "cheekSquint",
    "eyeBlink",
    "eyeLookDown",
    "eyeLookIn",
    "eyeLookOut",
    "eyeLookUp",
    "eyeSquint",
    "eyeWide",
    "mouthDimple",
    "mouthFrown",
    "mouthLowerDown",
    "mouthPress",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
]
WHOLE = [
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthFunnel",
    "mouthLeft",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
]
ICT_NAMES = tuple(sorted([f"{unit}_{side}" for unit in SIDED for side in "LR"] + WHOLE))


def test_the_folder_and_the_file_hold_the_same_head(tiny_folder, tiny_npz, tiny_shapes):
    folder, file = load_ict_head(tiny_folder), load_ict_head(tiny_npz)
    np.testing.assert_allclose(folder.template, file.template, atol=1e-9)
    np.testing.assert_array_equal(folder.quads, file.quads)
    np.testing.assert_allclose(folder.identity, file.identity, atol=1e-8)
    for name in folder.names:
        ours, theirs = (h.expression[h.names.index(name)] for h in (folder, file))
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    assert "PupilDilate_L" not in folder.names  # nothing in ARKit drives it
    np.testing.assert_allclose(file.template, tiny_shapes[0] / 100, atol=1e-9)  # centimetres


def test_what_is_no_ict_head_is_refused(tmp_path):
    for path in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(HeadError) as error:
            load_ict_head(path)
        assert "--head-data" in error.value.hint
    np.savez(tmp_path / "other.npz", template=np.zeros((3, 3)))
    with pytest.raises(HeadError, match=r"other\.npz"):
        load_ict_head(tmp_path / "other.npz")


def test_shapes_of_another_mesh_are_refused(tiny_folder, tmp_path):
    for path in tiny_folder.iterdir():
        text = path.read_text(encoding="utf-8")
        extra = "v 0 0 0\n" if path.stem == "jawOpen" else ""
        (tmp_path / path.name).write_text(extra + text, encoding="utf-8")
    with pytest.raises(HeadError, match="other vertices"):
        load_ict_head(tmp_path)


def test_every_expression_but_the_tongue_is_driven_by_its_namesake():
    matrix = arkit_matrix(ICT_NAMES)
    assert matrix.shape == (52, 53)
    assert (matrix.sum(0) == 1).all()
    twice = {ARKIT_NAMES[k] for k in np.nonzero(matrix.sum(1) == 2)[0]}
    assert twice == {"browInnerUp", "cheekPuff"}  # one weight for both sides
    assert {ARKIT_NAMES[k] for k in np.nonzero(matrix.sum(1) == 0)[0]} == {"tongueOut"}


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("mouthSmile_L", ("mouthSmileLeft",)),
        ("mouthSmile_R", ("mouthSmileRight",)),
        ("cheekPuff_R", ("cheekPuff",)),
        ("mouthLeft", ("mouthLeft",)),
        ("PupilDilate_L", ()),
    ],
)
def test_sides_are_the_subjects(name, units):
    assert arkit_units(name) == units


def test_a_ball_has_its_centre():
    points = np.random.default_rng(1).standard_normal((50, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True) * 0.012 + [0.03, 0.0, 0.08]
    np.testing.assert_allclose(ball_centre(points), [0.03, 0.0, 0.08], atol=1e-9)
