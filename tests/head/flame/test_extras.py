"""Landmarks, masks and texture coordinates that come beside a FLAME file are taken, or refused with what is wrong."""

import pickle

import numpy as np
import pytest
import torch
from support import flame_like

from flare_cli.errors import HeadError
from flare_cli.head.flame.extras import read_extras
from flare_cli.head.flame.model_file import head_of_flame, read_flame
from flare_cli.head.landmarks68 import MEDIAPIPE_OF_68
from flare_cli.head.skinning import landmark_points


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

    def error(p):
        return np.median(np.linalg.norm(p - true, axis=1)[others])

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
    from flare_cli.avatar.baking.texture import rasterize_uv

    texels, _, _ = rasterize_uv(flame.uv, flame.uv_faces, 1024)
    assert len(texels) / 1024**2 == pytest.approx(float(area), rel=0.02)
    assert area > 0.4


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
