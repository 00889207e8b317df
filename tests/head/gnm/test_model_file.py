"""GNM's file as a head model, on a file of its layout whose true correspondence is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.gnm_like import build_gnm_like, write_gnm_like

from flare_cli.apps.head import AddRequest, add, listed
from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.gnm.model_file import GnmReport, head_of_gnm, read_gnm
from flare_cli.head.joints import Joint
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[HeadModel, GnmReport]:
    return head_of_gnm(read_gnm(write_gnm_like(tmp_path_factory.mktemp("gnm") / "gnm_head.npz")), "gnm")


def test_axes_and_unit_become_ours(made: tuple[HeadModel, GnmReport], open_head: HeadModel):
    head = made[0]
    left, right, neck = (head.joints[j] for j in (Joint.EYE_LEFT, Joint.EYE_RIGHT, Joint.ROOT))
    assert 0.05 < float(left[0] - right[0]) < 0.08
    assert float(left[1] - neck[1]) > 0.05
    assert float(head.template[:, 2].max() - left[2]) < 0.06  # the nose is the foremost
    size, ours = (float(np.ptp(h.template[:, 1].numpy())) for h in (head, open_head))
    assert abs(size / ours - 1) < 0.1


def test_landmarks_lie_where_they_lie_on_the_same_vertices(made: tuple[HeadModel, GnmReport], open_head: HeadModel):
    head, report = made
    found = landmark_points(head, head.template[None])[0]
    corners = head.template[open_head.faces[open_head.landmarks.face]]
    true = (corners * open_head.landmarks.barycentric[..., None]).sum(1)
    away = (found - true).norm(dim=-1)
    assert away.median() < 0.0015
    assert away[[13, 14]].max() < 0.004  # the lips' inner edges, which touch
    assert report.registration < 0.002


def test_jaw_opens_by_expression_and_its_joint_does_nothing(made: tuple[HeadModel, GnmReport]):
    head = made[0]
    assert head.weights[:, Joint.JAW].max() == 0
    opened = head.arkit.expression[ARKIT_NAMES.index("jawOpen")]
    assert (head.expression_dirs @ opened)[head.regions["tongue"]].norm(dim=-1).mean() > 0.005
    pose = torch.zeros(1, 5, 3)
    pose[:, Joint.EYE_LEFT, 1] = 0.3
    moved = pose_vertices(
        head, shape=torch.zeros(head.n_shape), expression=torch.zeros(1, head.n_expression), pose=pose,
        translation=torch.zeros(1, 3),
    )[0]  # fmt: skip
    turned = (moved - head.template).norm(dim=-1) > 1e-4
    assert turned[head.regions["eyes"]].any()
    assert not turned[~head.regions["eyes"]].any()


def test_parts_and_components_are_named(made: tuple[HeadModel, GnmReport]):
    head, names = made[0], build_gnm_like()["expression_names"].tolist()
    assert head.regions["teeth"].any()
    assert (head.regions["inner_mouth"] >= head.regions["teeth"]).all()
    assert not (head.regions["lips"] & head.regions["teeth"]).any()
    assert len(head.expression_names) == len([n for n in names if n.startswith("lower")][:60]) + 12
    assert not head.is_named


WRONG = {
    "version": ({"version": np.array("2.1")}, "GNM head 2.1"),
    "body": ({"variant": np.array("body")}, "GNM body"),
    "joints": ({"joint_names": np.array(["a", "b", "c", "d"])}, "its joints are"),
    "missing": ({"expression_basis": None}, "expression_basis is missing"),
    "shape": ({"skinning_weights": np.zeros((3, 4))}, "skinning_weights is not finite numbers"),
    "correctives": ({"pose_correctives_regressor": None}, "pose_correctives_regressor is missing"),
    "triangles": ({"triangles": np.array([[0, 1, 10**6]])}, "do not name vertices"),
    "size": ({"template_joint_positions": np.eye(4, 3)}, "the eyes are"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_gnm_is_refused(what: str, tmp_path: Path):
    changed, told = WRONG[what]
    with pytest.raises(HeadError, match=told):
        read_gnm(write_gnm_like(tmp_path / "gnm_head.npz", **changed))


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(HeadError, match="plain arrays"):
        read_gnm(tmp_path / "x.npz")


def test_it_is_added_and_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path / "data"))
    file = write_gnm_like(tmp_path / "gnm_head.npz")
    with pytest.raises(HeadError, match="--edition belong to FLAME"):
        add(AddRequest(file=file, edition="2020"))
    added = add(AddRequest(file=file))
    assert (added.name, added.edition) == ("gnm", "gnm-3.0")
    assert load_head("gnm").sha256 == added.sha256
    assert [head.licence for head in listed()][1].startswith("Apache-2.0")
    with pytest.raises(HeadError, match="already there"):
        add(AddRequest(file=file))
