"""FLAME's files: read whole, posed as the paper defines, closed, and given landmarks, regions and ARKit's units."""

import pickle
from pathlib import Path

import flame_like
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from flare_cli.errors import HeadError, PickleError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.flame import head_of_flame, read_flame
from flare_cli.head.flame_extras import FlameExtras, read_extras
from flare_cli.head.landmarks68 import MEDIAPIPE_OF_68
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.head.stored import head_path, save_head, stored_names
from flare_cli.head.surface import border_loops


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("flame")


@pytest.fixture(scope="module")
def flame(flame_head) -> HeadModel:
    return flame_head


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
    as32 = lambda array: torch.from_numpy(array).float()  # noqa: E731
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


def test_only_the_neck_stays_open(flame):
    loops = border_loops(flame.faces.numpy())
    assert len(loops) == 1
    assert set(loops[0].tolist()) == set(torch.nonzero(flame.regions["boundary"])[:, 0].tolist())
    assert flame.template[loops[0], 1].max() < flame.joints[1, 1]
    faces = flame.faces.numpy()
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)


def test_sockets_go_around_the_eyeballs_and_the_mouth_opens_with_the_jaw(flame):
    v = flame.template
    sockets = v[flame.regions["eye_sockets"]]
    eyes = v[flame.regions["eyes"] & (v[:, 0] > 0)]
    radius = (eyes - flame.joints[3]).norm(dim=1).max()
    assert (sockets[:, None] - flame.joints[3:]).norm(dim=2).amin() > radius
    mouth = flame.regions["inner_mouth"]
    lips = v[flame.regions["lips"]].mean(0)
    assert v[mouth][:, 2].min() < lips[2] - 0.01
    opened = _posed(flame, jaw=0.3)
    gap = lambda vertices: vertices[mouth][:, 1].max() - vertices[mouth][:, 1].min()  # noqa: E731
    assert gap(opened) > gap(v) + 0.005


def _posed(head: HeadModel, jaw: float):
    pose = torch.zeros(1, 5, 3)
    pose[0, 2, 0] = jaw
    return pose_vertices(
        head, shape=torch.zeros(head.n_shape), expression=torch.zeros(1, head.n_expression), pose=pose,
        translation=torch.zeros(1, 3),
    )[0]  # fmt: skip


def test_landmarks_are_carried_over_to_where_they_are(flame, open_head):
    points = landmark_points(flame, flame.template[None])[0].numpy()
    error = np.linalg.norm(points - flame_like.true_landmarks(open_head), axis=1)
    assert np.median(error) < 0.0015
    assert np.quantile(error, 0.95) < 0.004
    assert error[468:].max() < 0.0005
    corners = flame.faces[flame.landmarks.face]
    jaw = (flame.weights[corners, 2] * flame.landmarks.barycentric).sum(1)
    assert (jaw[[0, 11, 12, 13]] < 0.3).all()
    assert (jaw[[17, 16, 15, 14]] > 0.7).all()
    outer = flame.landmarks.face < 9900
    assert outer.all()  # none in a pocket


def test_regions_lie_where_those_of_the_open_head_do(flame, open_head):
    source = flame_like.build_flame_like().source
    assert flame.regions.keys() == open_head.regions.keys()
    for name, least in {"lips": 0.85, "ears": 0.85, "scalp": 0.85, "nose": 0.85, "neck": 0.85, "eyes": 0.99}.items():
        true = source @ open_head.regions[name].numpy().astype(float) > 0.5
        found = flame.regions[name].numpy()[:5023]
        assert (true & found).sum() / (true | found).sum() > least, name
    assert not flame.regions["skin"][flame.regions["eyes"]].any()


def test_arkit_units_move_the_face_as_they_move_the_open_head(flame, flame_made, open_head):
    report = flame_made[1]
    assert set(report.arkit_residual) == set(ARKIT_NAMES)
    assert np.mean(list(report.arkit_residual.values())) < 0.25
    assert report.arkit_residual["mouthSmileLeft"] < 0.15
    jaw = flame.arkit.pose[ARKIT_NAMES.index("jawOpen"), 2]
    assert 0.2 < jaw[0] < 0.6
    assert jaw[1:].abs().max() < 0.05
    torch.testing.assert_close(flame.arkit.pose[:, 3:], open_head.arkit.pose[:, 3:])


def test_landmarks_masks_and_texture_coordinates_are_taken_where_given(folder, flame, open_head):
    file = read_flame(flame_like.write_flame_like(folder / "generic_model.pkl"))
    paths = flame_like.write_landmarks(folder)
    uv = folder / "head_template.obj"
    turned = np.roll(file.faces[::-1], 1, axis=1) + 1
    lines = ["vt 0.25 0.75"] * 5023 + ["f {0}/{0} {1}/{1} {2}/{2}".format(*face) for face in turned.tolist()]
    lines[17] = "vt 0.5 0.125"
    uv.write_text("\n".join(lines))
    masks = folder / "FLAME_masks.pkl"
    masks.write_bytes(pickle.dumps({"lips": np.arange(40), "left_ear": np.array([50]), "right_ear": np.array([60])}))
    extras = read_extras(
        landmarks=paths["landmarks"], mediapipe=paths["mediapipe"], masks=masks, uv=uv, n_faces=9900, n_vertices=5023
    )
    head, report = head_of_flame(file, "flame-2020", extras)
    assert (report.landmarks_given, report.landmarks68_given, report.uv_given) == (105, True, True)
    true = flame_like.true_landmarks(open_head)
    points = landmark_points(head, head.template[None])[0].numpy()
    np.testing.assert_allclose(points[extras.mediapipe.index], true[extras.mediapipe.index], atol=1.5e-3)
    points68 = landmark_points(head, head.template[None], head.landmarks68)[0].numpy()
    np.testing.assert_allclose(points68, true[list(MEDIAPIPE_OF_68)], atol=1.5e-3)
    # Knowing some points makes the others better.
    before = landmark_points(flame, flame.template[None])[0].numpy()
    others = np.setdiff1d(np.arange(468), extras.mediapipe.index)
    error = lambda p: np.median(np.linalg.norm(p - true, axis=1)[others])  # noqa: E731
    assert error(points) < 0.7 * error(before)
    at_17 = (head.faces == 17) & (torch.arange(len(head.faces)) < 9900)[:, None]
    torch.testing.assert_close(head.uv[head.uv_faces[at_17]], torch.tensor([[0.5, 0.125]]).expand(int(at_17.sum()), 2))
    assert len(head.uv_faces) == len(head.faces)
    assert head.sha256 != flame.sha256
    assert torch.nonzero(head.regions["lips"])[:, 0].tolist() == list(range(40))
    assert torch.nonzero(head.regions["ears"])[:, 0].tolist() == [50, 60]


def test_texture_coordinates_that_were_made_do_not_overlap(flame):
    corners = flame.uv[flame.uv_faces].double()
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum()
    from flare_cli.avatar.texture import rasterize_uv

    texels, _, _ = rasterize_uv(flame.uv, flame.uv_faces, 1024)
    assert len(texels) / 1024**2 == pytest.approx(float(area), rel=0.02)
    assert area > 0.4


def test_a_stored_head_comes_back_and_is_found_by_name(flame, tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    path = save_head(flame, {"edition": "2020"})
    assert path == tmp_path / "heads/flame-2020.safetensors"
    assert stored_names() == ["flame-2020"]
    again = load_head("flame-2020")
    for name in ("template", "faces", "uv", "shape_dirs", "expression_dirs", "pose_dirs", "weights", "joints"):
        torch.testing.assert_close(getattr(again, name), getattr(flame, name), atol=0, rtol=0)
    assert again.regions.keys() == flame.regions.keys()
    torch.testing.assert_close(again.landmarks.face, flame.landmarks.face)
    torch.testing.assert_close(again.arkit.expression, flame.arkit.expression)
    assert (again.name, again.sha256, again.parents) == (flame.name, flame.sha256, flame.parents)
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(HeadError, match="damaged"):
        load_head("flame-2020")


def test_names_can_not_leave_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    for name in ("../x", "A", "", "a/b", "." * 3):
        with pytest.raises(HeadError):
            head_path(name)
        with pytest.raises(HeadError):
            load_head(name)


def test_flame_has_no_named_units_and_the_open_head_does(flame, open_head):
    assert open_head.is_named
    assert not flame.is_named


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"lmk_face_idx": [1], "lmk_b_coords": [[1, 0, 0]]}, "lacks 'landmark_indices'"),
        ({"lmk_face_idx": [99999], "lmk_b_coords": [[1, 0, 0]], "landmark_indices": [4]}, "face 99999"),
        ({"lmk_face_idx": [1, 2], "lmk_b_coords": [[1, 0, 0]], "landmark_indices": [4]}, "2 faces for 1 points"),
        ({"lmk_face_idx": [1], "lmk_b_coords": [[1, 1, 0]], "landmark_indices": [4]}, "add up to 1"),
        ({"lmk_face_idx": [1], "lmk_b_coords": [[1, 0, 0]], "landmark_indices": [478]}, "478"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, arrays, message):
    path = tmp_path / "mediapipe.npz"
    np.savez(path, **{name: np.array(value) for name, value in arrays.items()})
    with pytest.raises(HeadError, match=message):
        read_extras(landmarks=None, mediapipe=path, masks=None, uv=None, n_faces=9900, n_vertices=5023)


def test_texture_coordinates_of_another_mesh_are_refused(tmp_path, folder):
    path = tmp_path / "other.obj"
    path.write_text("vt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(HeadError, match="1 triangles, not 9900"):
        read_extras(landmarks=None, mediapipe=None, masks=None, uv=path, n_faces=9900, n_vertices=5023)
    path.write_text("vt 0 0\nf 1 2 3\n")
    with pytest.raises(HeadError, match=r"other\.obj:2"):
        read_extras(landmarks=None, mediapipe=None, masks=None, uv=path, n_faces=9900, n_vertices=5023)
