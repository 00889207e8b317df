"""The bundled head: whole, symmetric, closing lids, an opening mouth, and weights that add up."""

import dataclasses
import json
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES, EXPRESSION_NAMES
from flare_cli.head.joints import JOINT_NAMES
from flare_cli.head.library import load_head
from flare_cli.head.open_head import content_digest, load_open_head
from flare_cli.head.skinning import landmark_points, pose_vertices

REGIONS = {
    *("skin", "lips", "eyes", "brows", "scalp", "ears", "neck", "inner_mouth", "teeth", "tongue", "eyelids"),
    *("eye_sockets", "face", "nose", "boundary"),
}


@pytest.fixture(scope="module")
def head():
    return load_open_head()


def posed(head, **weights):
    """The head with some ARKit weights."""
    arkit = torch.zeros(52)
    for name, value in weights.items():
        arkit[ARKIT_NAMES.index(name)] = value
    return pose_vertices(
        head,
        shape=torch.zeros(head.n_shape),
        expression=(arkit @ head.arkit.expression)[None],
        pose=torch.einsum("k,kjc->jc", arkit, head.arkit.pose)[None],
        translation=torch.zeros(1, 3),
    )[0].numpy()


def edges_of(faces):
    return np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)


def test_the_asset_matches_the_digest_in_its_metadata():
    with (
        resources.as_file(resources.files("flare_cli") / "assets/open_head.safetensors") as path,
        safe_open(path, framework="numpy") as asset,
    ):
        metadata = json.loads(asset.metadata()["flare"])
        arrays = {name: asset.get_tensor(name) for name in asset.keys()}  # noqa: SIM118
        assert path.stat().st_size < 5_000_000
    assert content_digest(arrays) == metadata["sha256"] == load_open_head().sha256
    assert metadata["licence"] == "CC0-1.0"
    assert tuple(metadata["joints"]) == JOINT_NAMES


def test_every_tensor_is_finite_and_has_the_documented_shape(head):
    V, F, S, E = len(head.template), len(head.faces), 100, 51
    shapes = {
        "template": (V, 3),
        "faces": (F, 3),
        "uv_faces": (F, 3),
        "shape_dirs": (V, 3, S),
        "expression_dirs": (V, 3, E),
        "pose_dirs": (V, 3, 36),
        "joints": (5, 3),
        "joint_shape_dirs": (5, 3, S),
        "joint_expression_dirs": (5, 3, E),
        "weights": (V, 5),
    }
    for name, shape in shapes.items():
        tensor = getattr(head, name)
        assert tensor.shape == shape, name
        assert torch.isfinite(tensor.double()).all(), name
    assert head.faces.min() >= 0
    assert head.faces.max() == V - 1
    assert head.uv_faces.max() == len(head.uv) - 1
    assert set(head.regions) == REGIONS
    assert all(mask.any() and mask.shape == (V,) for mask in head.regions.values())


def test_expressions_are_the_arkit_units_without_jaw_open(head):
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    assert ARKIT_NAMES[0] == "eyeBlinkLeft"
    assert ARKIT_NAMES[17] == "jawOpen"
    assert ARKIT_NAMES[51] == "tongueOut"
    assert head.expression_names == EXPRESSION_NAMES
    assert head.expression_dirs.abs().amax((0, 1)).min() > 0.001  # every unit moves something by a millimetre
    named = [ARKIT_NAMES[int(row.argmax())] for row in head.arkit.expression.T]
    assert tuple(named) == head.expression_names


def test_weights_and_barycentrics_sum_to_one(head):
    assert head.weights.min() >= 0
    torch.testing.assert_close(head.weights.sum(1), torch.ones(len(head.weights)))
    torch.testing.assert_close(head.landmarks.barycentric.sum(1), torch.ones(478))
    assert (head.landmarks.face >= 0).all()


def test_the_mesh_is_manifold_and_open_only_at_the_neck_and_mouth_parts(head):
    _, count = np.unique(edges_of(head.faces.numpy()), axis=0, return_counts=True)
    assert count.max() == 2
    open_skin = head.regions["boundary"] & head.regions["skin"]
    assert head.template[open_skin, 1].max() < head.joints[0, 1]
    # Consistent winding: each directed edge occurs once.
    f = head.faces.numpy()
    directed = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)


def test_faces_look_outward(head):
    v, f = head.template.double().numpy(), head.faces.numpy()
    for name in ("skin", "eyes"):
        part = f[head.regions[name].numpy()[f].all(1)]
        centred = v - v[part].reshape(-1, 3).mean(0)
        volume = np.einsum("fc,fc->f", centred[part[:, 0]], np.cross(centred[part[:, 1]], centred[part[:, 2]])).sum()
        assert volume > 0, name


def test_template_units_and_weights_are_mirror_images(head):
    v = head.template.double().numpy()
    distance, partner = cKDTree(v).query(v * [-1, 1, 1])
    # The seam of the lips holds vertices of upper and lower lip at one place: compare all but those.
    lonely = np.sort(cKDTree(v).query(v, k=2)[0][:, 1]) > 0
    assert distance.max() < 1e-6
    own = (partner[partner] == np.arange(len(v))) & (cKDTree(v).query(v, k=2)[0][:, 1] > 1e-5)
    assert own.mean() > 0.99
    assert lonely.any()
    units = dict(zip(head.expression_names, head.expression_dirs.numpy().transpose(2, 0, 1), strict=True))
    for name, unit in units.items():
        other = name.replace("Left", "Right") if name.endswith("Left") else name.replace("Right", "Left")
        if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") or other not in units:
            continue
        np.testing.assert_allclose(unit[partner][own] * [-1, 1, 1], units[other][own], atol=1e-5, err_msg=name)
    swapped = head.weights.numpy()[:, [0, 1, 2, 4, 3]]
    np.testing.assert_allclose(head.weights.numpy()[partner][own], swapped[own], atol=1e-6)


def _covered(head, vertices, side):
    """Does skin hide the eyeball, seen from straight ahead? One answer per point of a 0.5 mm grid on the eye."""
    centre = head.joints[JOINT_NAMES.index(side)].numpy()
    faces = head.faces.numpy()
    corners = vertices[faces[head.regions["skin"].numpy()[faces].all(1)]].astype(np.float64) - centre
    corners = corners[corners[:, :, 2].min(1) > 0.005]
    grid = np.stack(np.meshgrid(np.arange(-0.008, 0.0081, 0.0005), np.arange(-0.008, 0.0081, 0.0005)), -1)
    points = grid.reshape(-1, 1, 2) + 1e-6
    a, b, c = (corners[None, :, k, :2] for k in range(3))

    def cross(p, q):
        return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]

    sides = np.stack([cross(b - a, points - a), cross(c - b, points - b), cross(a - c, points - c)])
    return ((sides >= 0).all(0) | (sides <= 0).all(0)).any(1)


@pytest.mark.parametrize("side", ["eye_left", "eye_right"])
def test_blink_closes_lids_that_are_open_at_rest(head, side):
    name = "eyeBlinkLeft" if side == "eye_left" else "eyeBlinkRight"
    assert not _covered(head, posed(head), side).all()
    # The grid's step is half a millimetre: no gap of a millimetre is left.
    assert _covered(head, posed(head, **{name: 1.0}), side).all()


@pytest.mark.parametrize("weights", [{}, {"eyeBlinkLeft": 1.0}, {"eyeLookUpLeft": 1.0}, {"eyeWideLeft": 1.0}])
def test_lids_stay_outside_the_eyeball(head, weights):
    vertices = posed(head, **weights)
    centre = head.joints[3].numpy()
    eyes = vertices[head.regions["eyes"].numpy()]
    radius = np.linalg.norm(eyes[eyes[:, 0] > 0] - centre, axis=1).max()
    lids = vertices[(head.regions["skin"] & (head.template[:, 0] > 0)).numpy()]
    lids = lids[lids[:, 2] > centre[2] + 0.002]
    assert np.linalg.norm(lids - centre, axis=1).min() > radius + 1e-4


def test_jaw_open_turns_the_lower_teeth_rigidly_and_parts_the_lips(head):
    rest, opened = posed(head), posed(head, jawOpen=1.0)
    teeth = head.regions["teeth"].numpy()
    lower = teeth & (head.weights[:, 2] == 1).numpy()
    assert lower.sum() == teeth.sum() / 2
    pivot = head.joints[2].numpy()
    turn = Rotation.from_rotvec([np.radians(20.7), 0, 0]).as_matrix()
    np.testing.assert_allclose(opened[lower], (rest[lower] - pivot) @ turn.T + pivot, atol=5e-6)
    np.testing.assert_allclose(opened[teeth & ~lower], rest[teeth & ~lower], atol=1e-7)
    chin_drop = (rest - opened)[head.regions["lips"].numpy(), 1].max()
    assert 0.02 < chin_drop < 0.05


def test_teeth_show_below_the_upper_lip_overlap_and_stand_before_the_tongue(head):
    """Of adults with the lips apart 2 to 3 mm of upper incisors show (Vig and Brundo 1978); they overlap by 1 to 3."""
    regions = {name: mask.numpy() for name, mask in head.regions.items()}
    lower_jaw = head.weights[:, 2].numpy() > 0.5

    def middle(points, mask):
        return points[mask & (np.abs(head.template[:, 0].numpy()) < 0.006)]

    at_rest, opened = head.template.numpy(), posed(head, jawOpen=0.5)
    upper, lower = (middle(at_rest, regions["teeth"] & part) for part in (~lower_jaw, lower_jaw))
    lip = middle(opened, regions["lips"] & ~lower_jaw)[:, 1].min()
    shown = lip - middle(opened, regions["teeth"] & ~lower_jaw)[:, 1].min()
    assert 0.002 < shown < 0.004
    assert 0.001 < lower[:, 1].max() - upper[:, 1].min() < 0.003
    assert upper[upper[:, 1].argmin(), 2] > lower[lower[:, 1].argmax(), 2] + 0.001
    tongue = middle(at_rest, regions["tongue"])
    assert tongue[:, 1].max() < lower[:, 1].max()
    assert tongue[:, 2].max() < lower[:, 2].max() - 0.002


def test_a_tongue_that_is_out_passes_over_the_lower_teeth(head):
    lower_jaw = head.weights[:, 2] > 0.5
    out = posed(head, tongueOut=1, jawOpen=0.3)
    tongue, teeth = out[head.regions["tongue"]], out[head.regions["teeth"] & lower_jaw]
    front = teeth[np.abs(teeth[:, 0]) < 0.006]
    beyond = tongue[tongue[:, 2] > front[:, 2].max()]
    assert len(beyond) > 10
    assert beyond[:, 1].max() > front[:, 1].max()


def test_looks_turn_the_eyeballs_the_way_they_say(head):
    def look(name, joint):
        return head.arkit.pose[ARKIT_NAMES.index(name), joint]

    assert look("eyeLookOutLeft", 3)[1] > 0.2  # toward +x, the subject's left
    assert look("eyeLookOutRight", 4)[1] < -0.2
    assert look("eyeLookUpLeft", 3)[0] < -0.1
    assert look("eyeLookDownRight", 4)[0] > 0.1


def test_uv_faces_do_not_overlap(head):
    size = 1024
    hits = np.zeros((size, size), int)
    ys, xs = np.mgrid[0:size, 0:size]
    for a, b, c in head.uv.double().numpy()[head.uv_faces.numpy()] * size:
        low = np.floor(np.min([a, b, c], 0)).astype(int)
        high = np.ceil(np.max([a, b, c], 0)).astype(int) + 1
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        px, py = xs[window] + 0.5, ys[window] + 0.5

        def side(p, q, px=px, py=py):
            return (q[0] - p[0]) * (py - p[1]) - (q[1] - p[1]) * (px - p[0])

        sides = np.stack([side(a, b), side(b, c), side(c, a)])
        hits[window] += (sides > 1e-9).all(0) | (sides < -1e-9).all(0)
    assert (hits > 0).mean() > 0.25
    assert (hits > 1).sum() == 0


def test_an_unknown_head_is_one_clear_error():
    with pytest.raises(HeadError, match="nobody") as caught:
        load_head("nobody")
    assert "open-head" in caught.value.hint


def test_moving_a_head_keeps_everything_else(head):
    moved = head.to("cpu")
    assert dataclasses.replace(moved, template=head.template).name == head.name
    assert moved.regions.keys() == head.regions.keys()


def test_mouth_close_brings_the_lips_of_an_open_jaw_together(head):
    def gap(vertices):
        inner = landmark_points(head, torch.from_numpy(vertices)[None])[0]
        return float((inner[13] - inner[14]).norm())  # MediaPipe's middle of the upper and of the lower lip

    opened = gap(posed(head, jawOpen=1.0))
    assert opened > 0.02
    assert gap(posed(head, jawOpen=1.0, mouthClose=1.0)) < 0.15 * opened


def test_landmarks_are_symmetric_and_lips_have_their_own(head):
    points = landmark_points(head, head.template[None])[0]
    for right, left in ((33, 263), (133, 362), (61, 291), (78, 308), (191, 415), (468, 473), (127, 356)):
        mirrored = points[left] * torch.tensor([-1.0, 1.0, 1.0])
        torch.testing.assert_close(points[right], mirrored, atol=1e-3, rtol=0)
    corners = head.faces[head.landmarks.face]
    jaw = (head.weights[corners, 2] * head.landmarks.barycentric).sum(1)
    assert (jaw[[0, 11, 12, 13, 81, 82, 312, 311]] < 0.3).all()  # upper lip
    assert (jaw[[17, 16, 15, 14, 178, 87, 317, 402]] > 0.7).all()  # lower lip
    assert points[33, 0] < 0 < points[263, 0]  # the subject's right eye is at -x
