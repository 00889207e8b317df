"""FLAME's files: read whole or refused with what is wrong, and posed as the paper defines."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support import flame_like

from flare_cli.errors import HeadError, PickleError
from flare_cli.head.flame.extras import FlameExtras
from flare_cli.head.flame.model_file import read_flame
from flare_cli.head.skinning import pose_vertices


def reference(arrays, shape, expression, pose, translation):
    """FLAME in float64 as its paper defines it: T = T̄ + B_S(β) + B_E(ψ) + B_P(θ), joints J(β, ψ), blend skinning."""
    shaped = arrays["v_template"] + arrays["shapedirs"] @ np.concatenate([shape, expression])
    joints = arrays["J_regressor"] @ shaped
    rotations = [Rotation.from_rotvec(theta).as_matrix() for theta in pose]
    corrected = shaped + arrays["posedirs"] @ np.concatenate([(R - np.eye(3)).ravel() for R in rotations[1:]])
    world = []
    for j, parent in enumerate([None, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] if parent is None else joints[j] - joints[parent]
        world.append(local if parent is None else world[parent] @ local)
    posed = np.zeros_like(shaped)
    for j in range(5):
        rest = np.eye(4)
        rest[:3, 3] = -joints[j]
        moved = np.c_[corrected, np.ones(len(corrected))] @ (world[j] @ rest).T
        posed += arrays["weights"][:, j, None] * moved[:, :3]
    return posed + translation


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_posing_is_flames_own(flame, seed):
    arrays = flame_like.build_flame_like().arrays
    rng = np.random.default_rng(seed)
    shape, expression = rng.normal(size=300), rng.normal(size=100)
    pose, translation = rng.normal(size=(5, 3)) * 0.5, rng.normal(size=3)

    def as32(array):
        return torch.from_numpy(array).float()

    ours = pose_vertices(
        flame, shape=as32(shape), expression=as32(expression)[None], pose=as32(pose)[None],
        translation=as32(translation)[None],
    )  # fmt: skip
    expected = reference(arrays, shape, expression, pose, translation)
    np.testing.assert_allclose(ours[0, :5023].double().numpy(), expected, atol=1e-5)


def test_python2_and_numpy_pickles_hold_the_same_head(folder):
    old = read_flame(flame_like.write_flame_like(folder / "generic_model.pkl"))
    new = read_flame(flame_like.write_flame_like(folder / "flame2023.pkl", "2023"))
    assert (old.edition, new.edition) == ("2020", "2023")
    assert "non-commercial" in old.licence
    assert old.digest(FlameExtras()) == new.digest(FlameExtras())
    assert old.file_sha256 != new.file_sha256
    assert read_flame(folder / "flame2023.pkl", "2023-open").licence.startswith("CC-BY")


def _changed(name, change):
    return {name: change(flame_like.build_flame_like().arrays[name].copy())}


def _with(array, index, value):
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shapedirs": None}, "lacks 'shapedirs'"),
        ({"v_template": np.zeros((6890, 3))}, r"v_template is 6890x3, not 5023x3"),
        (_changed("shapedirs", lambda a: a[..., :200]), "5023x3x200, not 5023x3x400"),
        (_changed("v_template", lambda a: _with(a, (3, 1), np.nan)), "not finite"),
        (_changed("v_template", lambda a: a * 1000), "m tall"),
        (_changed("f", lambda a: _with(a, (0, 0), 5023)), "vertex 5023 of 5023"),
        (_changed("f", lambda a: _with(a, 0, 7)), "same corner twice"),
        (_changed("weights", lambda a: a * 2), "add up to 1"),
        (_changed("kintree_table", lambda a: _with(a, (0, 3), 2)), "joints hang together"),
        ({"J_regressor": scipy.sparse.csc_matrix(np.zeros((24, 5023)))}, "J_regressor is 24x5023"),
        ({"posedirs": "nothing"}, "posedirs is str"),
    ],
)
def test_what_is_not_flame_is_refused_with_what_is_wrong(tmp_path, changed, message):
    with pytest.raises(HeadError, match=message):
        read_flame(flame_like.write_flame_like(tmp_path / "flame2023.pkl", "2023", **changed))


def test_a_file_of_unknown_edition_is_asked_about(tmp_path):
    path = flame_like.write_flame_like(tmp_path / "mine.pkl", "2023")
    with pytest.raises(HeadError, match="edition"):
        read_flame(path)
    assert read_flame(path, "2023").edition == "2023"


def test_a_file_with_code_in_it_is_refused(tmp_path):
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(PickleError, match=r"posix\.system"):
        read_flame(path)


def test_flame_has_no_named_units_and_the_open_head_does(flame, open_head):
    assert open_head.is_named
    assert not flame.is_named
