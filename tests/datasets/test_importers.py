"""Every format, written by its own rules from one known scene, gives back that scene."""

import numpy as np
import pytest
from support.formats.datasets import WITH_NECK, WRITERS, imported, seen
from support.formats.scene import LIGHT, make_scene, vertex_normals
from support.formats.writers import (
    write_insta,
    write_metrical_tracker,
    write_vhap,
)

from flare_cli.datasets.formats import read_dataset
from flare_cli.errors import SubjectError


@pytest.mark.parametrize("name", WRITERS)
def test_importer_recovers_geometry_and_light(name, scene, tmp_path):
    write, expected_format, _ = WRITERS[name]
    write(tmp_path, scene)
    assert read_dataset(tmp_path).format == expected_format
    track = imported(tmp_path, scene).track
    vertices, in_camera, pixels = seen(track, scene)
    assert np.abs(pixels - scene.pixels()).max() < 0.1
    assert np.linalg.norm(in_camera - scene.in_camera(), axis=-1).max() < 1e-4
    # The lamp's direction seen from the camera is the same in both worlds; it must not move from frame to frame.
    lamp = track.camera.camera_from_world[0, :, :3].double().numpy().T @ scene.camera_from_world[:, :3] @ LIGHT
    faces = scene.head.faces.numpy()
    brightness = np.stack([vertex_normals(v, faces) @ lamp for v in vertices])
    np.testing.assert_allclose(brightness, scene.brightness(), atol=1e-3)


@pytest.mark.parametrize("name", WITH_NECK)
def test_neck_is_kept_where_the_format_has_one(name, tmp_path):
    scene = make_scene(neck=True, seed=3)
    WRITERS[name][0](tmp_path, scene)
    _, in_camera, pixels = seen(imported(tmp_path, scene).track, scene)
    assert np.abs(pixels - scene.pixels()).max() < 0.1
    assert np.linalg.norm(in_camera - scene.in_camera(), axis=-1).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "held_out"), [("vhap", 2), ("insta", 1), ("neural head avatars", 1), ("metrical-tracker", None)]
)
def test_the_data_sets_own_split_is_kept(name, held_out, scene, tmp_path):
    WRITERS[name][0](tmp_path, scene)
    subject = imported(tmp_path, scene)
    assert (None if subject.held_out is None else len(subject.held_out)) == held_out


def test_teeth_offsets_are_dropped_with_a_note(scene, tmp_path):
    write_vhap(tmp_path, scene)
    path = tmp_path / "flame_param" / "00000.npz"
    arrays = dict(np.load(path))
    arrays["static_offset"][0, 5023:] = 0.5
    np.savez(path, **arrays)
    assert read_dataset(tmp_path).notes == ()
    arrays["static_offset"][0, 7] = 0.002
    np.savez(path, **arrays)
    assert "2.0 mm" in read_dataset(tmp_path).notes[0]


def test_eyelids_are_reported_lost(scene, tmp_path):
    write_metrical_tracker(tmp_path, scene)
    assert any("eyelids" in note for note in read_dataset(tmp_path).notes)


def test_insta_without_checkpoints_is_refused_with_the_reason(scene, tmp_path):
    write_insta(tmp_path, scene)
    for path in (tmp_path / "checkpoint").iterdir():
        path.unlink()
    with pytest.raises(SubjectError, match="another topology"):
        read_dataset(tmp_path)
