"""A whole person of the open head: the truth is the head's own, what is painted is all there, and stays in place."""

import math

import numpy as np
import pytest
import torch

from flare_cli.data.celebamask import Label
from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.library import load_head
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.synthetic.paint import Noise
from flare_cli.synthetic.people.face_space import carried_space, open_head_space
from flare_cli.synthetic.people.parts import rigid_motion, tubes
from flare_cli.synthetic.people.person import make_filmed_person
from flare_cli.synthetic.people.recipe import PersonRecipe
from flare_cli.synthetic.people.skin_detail import creases
from flare_cli.synthetic.performance import Performance, perform


@pytest.fixture(scope="module")
def person():
    return make_filmed_person(PersonRecipe(head="open-head", seed=3, stubble=0.5, glasses=True, cloth="check"), None)


def performed(turn=(0.0, 0.0, 0.0), **weights):
    arkit = torch.zeros(1, 52)
    for name, weight in weights.items():
        arkit[0, ARKIT_NAMES.index(name)] = weight
    return Performance(arkit=arkit, head=torch.tensor([turn]), translation=torch.zeros(1, 3), held_out=1)


def test_the_control_mesh_is_the_head_model_under_the_true_parameters(person):
    performance = perform(8, seed=3)
    truth = person.parameters(performance)
    head = load_head("open-head")
    posed = pose_vertices(
        head, shape=truth.shape, expression=truth.expression, pose=truth.pose, translation=truth.translation
    )
    for frame in (0, 5):
        torch.testing.assert_close(person.control(performance, frame), posed[frame], atol=1e-6, rtol=0)
    assert torch.equal(person.faces, head.faces)
    assert len(person.labels) == len(head.template)


def test_everything_that_a_person_wears_is_there_and_can_be_traced(person):
    mesh = person.posed(performed(jawOpen=0.3), 0)
    expected = {*Label} - {Label.BACKGROUND, Label.EARRING, Label.NECKLACE, Label.HAT}
    assert set(mesh.labels.tolist()) == {int(label) for label in expected}
    assert int(mesh.faces.max()) < len(mesh.vertices)
    for name in ("vertices", "normals", "albedo", "roughness", "specular", "sharp"):
        assert torch.isfinite(getattr(mesh, name)).all(), name
    assert float(mesh.albedo.min()) > 0
    assert float(mesh.albedo.max()) < 1
    assert float(mesh.sharp.min()) >= 0
    assert float(mesh.sharp.max()) < 1
    assert 300_000 < len(mesh.faces) < 900_000


def test_the_traced_surface_stays_within_hairs_of_the_control_mesh(person):
    performance = performed((0.1, 0.6, 0.0), mouthSmileLeft=1.0)
    control, mesh = person.control(performance, 0), person.posed(performance, 0)
    skin = mesh.vertices[: person.skin.mesh.matrix.shape[0]]
    smooth = torch.from_numpy(person.skin.mesh.matrix @ control.double().numpy()).float()
    bare = (mesh.labels[: len(skin)] != Label.HAIR) & (mesh.labels[: len(skin)] != Label.CLOTH)
    off = (skin - smooth).norm(dim=1)[bare]
    assert float(off.quantile(0.95)) < 0.0008
    assert float(off.mean()) > 0.00002


def test_hair_and_glasses_turn_with_the_skull_and_the_shirt_stays(person):
    still, turned = (person.posed(performed((0.0, yaw, 0.0)), 0) for yaw in (0.0, 0.5))
    frame = still.labels == Label.GLASSES
    a, b = still.vertices[frame], turned.vertices[frame]
    torch.testing.assert_close(torch.pdist(a[::40]), torch.pdist(b[::40]), atol=1e-5, rtol=0)
    assert float((a - b).norm(dim=1).mean()) > 0.02
    low = (still.labels == Label.CLOTH) & (still.vertices[:, 1] < -0.25)
    assert float((still.vertices - turned.vertices)[low].norm(dim=1).max()) < 0.025


def test_the_same_recipe_is_the_same_person_and_another_seed_another(person):
    again = make_filmed_person(PersonRecipe(head="open-head", seed=3, stubble=0.5, glasses=True, cloth="check"), None)
    here, there = (p.posed(performed(), 0) for p in (person, again))
    assert torch.equal(here.vertices, there.vertices)
    assert torch.equal(here.albedo, there.albedo)


@pytest.mark.parametrize(
    ("unit", "where"),
    [
        ("browInnerUp", (0.0, 0.05)),
        ("browDownLeft", (0.006, 0.022)),
        ("mouthSmileLeft", (0.025, -0.055)),
        ("cheekSquintLeft", (0.030, -0.015)),
    ],
)
def test_wrinkles_deepen_under_their_muscles_and_nowhere_else(unit, where):
    space = open_head_space(load_head("open-head"))
    found = creases(space, Noise(0))
    calm = sum(crease.now(np.zeros(52)) for crease in found)
    pulled = sum(crease.now(performed(**{unit: 1.0}).arkit[0].numpy()) for crease in found)
    deeper = np.abs(pulled - calm)
    assert 0.00005 < deeper.max() < 0.0006
    moved = space.places[deeper > 0.5 * deeper.max()]
    assert np.hypot(*(moved[:, :2] - where).T).min() < 0.012
    assert np.hypot(*(moved[:, :2] - where).T).max() < 0.07


def test_a_head_that_is_ours_scaled_has_our_regions():
    head = load_head("open-head")
    ours = open_head_space(head)
    points = landmark_points(head, head.template[None], head.landmarks68)[0].double().numpy()
    stretch = np.array([1.1, 0.95, 1.05])
    inner = {name: ours.regions[name] > 0.5 for name in ("skin", "eyes", "teeth", "tongue", "inner_mouth")}
    space, weights = carried_space(head, ours.places * stretch, points * stretch, ours.rim, inner)
    skin = inner["skin"]
    np.testing.assert_allclose(space.places[skin], ours.places[skin], atol=0.003)
    for name in ("lips", "nose", "ears", "scalp"):
        assert ((space.regions[name] > 0.5) == (ours.regions[name] > 0.5)).mean() > 0.995, name
    np.testing.assert_allclose(weights[skin], head.weights[torch.from_numpy(skin)].numpy(), atol=0.05)


def test_a_rigid_motion_is_found():
    random = np.random.default_rng(2)
    before = random.standard_normal((20, 3))
    c, s = math.cos(0.4), math.sin(0.4)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    motion = rigid_motion(before, before @ turn.T + [1, 2, 3])
    np.testing.assert_allclose(motion.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(motion.shift, [1, 2, 3], atol=1e-12)


def test_tubes_keep_their_radius_and_face_outwards():
    path = np.stack([np.zeros(5), np.linspace(0, 1, 5), np.zeros(5)], 1)
    vertices, faces = tubes(path[None], np.full((1, 5), 0.1), sides=8)
    np.testing.assert_allclose(np.hypot(vertices[:, 0], vertices[:, 2]), 0.1, atol=1e-12)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    outward = (np.cross(b - a, c - a) * ((a + b + c) * [1, 0, 1])).sum(1)
    assert (outward > 0).all()


def test_an_ict_person_without_its_files_says_how_to_name_them():
    with pytest.raises(HeadError) as error:
        make_filmed_person(PersonRecipe(head="ict", seed=0), None)
    assert "--head-data" in error.value.hint
