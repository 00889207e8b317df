"""The synthetic recording: repeatable, resumable, and in agreement with its own track."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from flare_cli.data.celebamask import Label
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import SubjectError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.library import load_head
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic.performance import perform
from flare_cli.synthetic.recording import make_synthetic_subject, studio_light

FRAMES, SIZE = 5, 96


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_synthetic_subject(tmp_path_factory.mktemp("film") / "subject", frames=FRAMES, size=SIZE, samples=4)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_loads_as_a_subject_with_the_exact_track(recording):
    loaded = load_subject(recording.folder)
    assert len(loaded.track) == FRAMES
    assert loaded.track.head == "open-head"
    torch.testing.assert_close(loaded.track.pose, recording.track.pose)
    torch.testing.assert_close(loaded.track.expression, recording.track.expression)
    torch.testing.assert_close(loaded.track.translation, recording.track.translation, atol=1e-6, rtol=0)
    assert len(loaded.quality) == FRAMES


def test_eyes_and_lips_appear_where_the_track_projects_them(recording):
    track = recording.track
    head = load_head(track.head)
    vertices = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    pixels = track.camera.expand(FRAMES).project(landmark_points(head, vertices))
    # MediaPipe 13 and 14 are the inner middle of the lips; brows and eyes may be turned away, lips never are.
    for i in range(FRAMES):
        labels = read_grey(recording.label_path(i + 1))
        mouth = np.isin(labels, [Label.LIP_UPPER, Label.LIP_LOWER, Label.MOUTH])
        rows, columns = np.nonzero(mouth)
        middle = pixels[i, [0, 17, 61, 291]].mean(0)
        assert abs(columns.mean() + 0.5 - float(middle[0])) < 0.02 * SIZE
        assert abs(rows.mean() + 0.5 - float(middle[1])) < 0.02 * SIZE


def test_buffers_agree_with_each_other(recording):
    image, mask = read_rgb(recording.image_path(1)), read_grey(recording.mask_path(1))
    labels = read_grey(recording.label_path(1))
    truth = np.load(recording.folder / "truth" / "1.npz")
    assert image.shape == (SIZE, SIZE, 3)
    assert (image[mask == 0] == 0).all()
    np.testing.assert_allclose(mask / 255, truth["coverage"], atol=0.003)
    solid = truth["coverage"] == 1
    assert (labels[solid] > 0).all()
    assert (labels[mask == 0] == 0).all()
    assert {Label.SKIN, Label.HAIR, Label.CLOTH, Label.NECK, Label.NOSE, Label.EYE_LEFT, Label.BROW_RIGHT} <= set(
        np.unique(labels)
    )
    normals = truth["normal"][solid].astype(float)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=2e-3)
    assert (truth["depth"][solid] > 0.5).all()
    assert (truth["depth"][solid] < 1.0).all()
    assert 0.25 < solid.mean() < 0.6


def test_the_light_file_is_the_light(recording):
    stored = cv2.imread(str(recording.folder / "truth" / "light.hdr"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(stored, studio_light(0).numpy(), rtol=0.02, atol=0.05)  # RGBE shares an exponent


def test_the_same_arguments_give_the_same_files(recording, tmp_path):
    make_synthetic_subject(tmp_path / "again", frames=FRAMES, size=SIZE, samples=4)
    assert files_of(tmp_path / "again") == files_of(recording.folder)


def test_a_finished_recording_is_kept_and_a_cut_off_one_is_filmed_anew(tmp_path):
    def film():
        return make_synthetic_subject(
            tmp_path, frames=2, size=16, samples=1, progress=lambda done, n: steps.append((done, n))
        )

    steps = []
    film()
    assert steps == [(1, 2), (2, 2)]
    before = files_of(tmp_path)
    film()
    assert len(steps) == 2
    (tmp_path / "flame_params.json").unlink()  # what a killed run lacks
    (tmp_path / "image" / "2.png").write_bytes(b"half")
    film()
    assert len(steps) == 4
    assert files_of(tmp_path) == before


def test_it_does_not_touch_another_subject(tmp_path):
    (tmp_path / "flame_params.json").write_text(json.dumps({"frames": []}))
    with pytest.raises(SubjectError, match="another subject"):
        make_synthetic_subject(tmp_path, frames=1, size=8, samples=1)
    assert (tmp_path / "flame_params.json").is_file()


def test_the_performance_is_smooth_and_reaches_its_extremes():
    performance = perform(96, seed=0)
    yaw, pitch = performance.head[:, 1], performance.head[:, 0]
    assert float(yaw.max()) == pytest.approx(math.radians(35), rel=0.02)
    assert float(yaw.min()) == pytest.approx(-math.radians(35), rel=0.02)
    assert float(pitch.abs().max()) == pytest.approx(math.radians(15), rel=0.02)
    assert float(performance.head.diff(dim=0).abs().max()) < math.radians(16)
    assert performance.arkit.min() >= 0
    assert performance.arkit.max() <= 1
    used = performance.arkit.amax(0) > 0.3
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeBlinkRight", "mouthPucker"):
        assert used[ARKIT_NAMES.index(name)], name
    assert performance.held_out == 77
