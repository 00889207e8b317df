"""Truth as tensors: on the subject's pixels, also of a crop of the film, and in camera axes."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.data.crop import Crop
from flare_cli.errors import SubjectError
from flare_cli.subject.folder import Subject
from flare_cli.subject.truth import frames_with_truth, load_truth, truth_folder

NUMBERS = [13, 14, 15]


def stored(subject: Subject, name: str, number: int = 14) -> np.ndarray:
    with np.load(truth_folder(subject) / f"{number}.npz") as arrays:
        return arrays[name].astype(np.float32)


def test_held_out_frames_have_truth(subject_with_truth: Subject):
    assert frames_with_truth(subject_with_truth) == NUMBERS


def test_a_given_track_has_the_truths_own_pixels(subject_with_truth: Subject):
    truth = load_truth(subject_with_truth, NUMBERS, 64, 64)
    for name in ("albedo", "coverage", "roughness", "depth", "specular"):
        np.testing.assert_array_equal(getattr(truth.maps, name)[1], stored(subject_with_truth, name))
    assert set(truth.relit) == {"left", "above"}
    assert {name: view.frames.tolist() for name, view in truth.views.items()} == {"0_-20": [1], "30_0": [1]}
    assert truth.inside.any()
    assert (truth.face <= truth.inside).all()


def test_normals_are_unit_and_face_the_camera(subject_with_truth: Subject):
    truth = load_truth(subject_with_truth, NUMBERS, 64, 64)
    normal = truth.maps.normal[truth.inside]
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(len(normal)))
    assert (normal[:, 2] < 0.3).float().mean() > 0.99  # the camera looks along its +z
    # The same direction in world axes as it is stored.
    world = normal @ truth.camera.camera_from_world[0, :, :3]
    wanted = torch.from_numpy(np.stack([stored(subject_with_truth, "normal", n) for n in NUMBERS]))[truth.inside]
    torch.testing.assert_close(world, torch.nn.functional.normalize(wanted, dim=-1), atol=1e-5, rtol=0)


def test_the_light_is_asked_in_camera_axes(subject_with_truth: Subject):
    truth = load_truth(subject_with_truth, NUMBERS, 64, 64)
    left = replace(truth, envmap=truth.relit["left"].envmap).light
    lamp = truth.camera.camera_from_world[0, :, :3] @ torch.tensor([1.0, 0.2, 0.5])  # where it stands
    towards = torch.nn.functional.normalize(lamp, dim=0)[None]
    assert (left.diffuse(towards) > 5 * left.diffuse(-towards)).all()


def test_the_mesh_lies_where_it_is_seen(subject_with_truth: Subject):
    truth = load_truth(subject_with_truth, NUMBERS, 64, 64)
    fx, fy, cx, cy = truth.camera.intrinsics[0]
    x, y, z = truth.mesh.vertices[1].unbind(-1)
    column, row = (x / z * fx + cx).long(), (y / z * fy + cy).long()
    assert truth.maps.coverage[1][row, column].gt(0).float().mean() > 0.97
    seen = truth.maps.depth[1][row, column]
    assert (seen[seen > 0] < z[seen > 0] + 0.02).float().mean() > 0.95  # no vertex far in front of what is seen


def cropped(subject: Subject, crop: Crop, folder: Path) -> Subject:
    """The subject that would be tracked in the film: its pictures a crop, its truth that of the film."""
    source = {"truth": str(truth_folder(subject).resolve()), "crop": asdict(crop)}
    return replace(subject, folder=folder, source=source)


def test_a_crop_of_the_same_scale_is_cut_out(subject_with_truth: Subject, tmp_path: Path):
    crop = Crop(x=10, y=-4, side=40, size=40)
    truth = load_truth(cropped(subject_with_truth, crop, tmp_path), NUMBERS, 40, 40)
    whole = stored(subject_with_truth, "albedo")
    np.testing.assert_array_equal(truth.maps.albedo[1, 4:], whole[:36, 10:50])
    assert (truth.maps.albedo[1, :4] == 0).all()
    assert truth.picture.filmed[:, 4:].all()  # beyond the film nothing counts
    assert not truth.picture.filmed[:, :4].any()
    assert not truth.picture.counted()[:, :4].any()
    film = load_truth(subject_with_truth, NUMBERS, 64, 64)
    point = torch.tensor([[[0.03, -0.02, 0.1]]])
    (u, v), (film_u, film_v) = (t.camera.project(point)[0, 0].tolist() for t in (truth, film))
    assert (u, v) == pytest.approx((film_u - 10, film_v + 4), abs=1e-4)
    assert truth.views["30_0"].camera.project(point)[0, 0].tolist() == pytest.approx(
        crop.from_source(film.views["30_0"].camera.project(point)[0, 0].numpy()).tolist(), abs=1e-4
    )


def test_a_smaller_crop_holds_means_weighted_by_coverage(subject_with_truth: Subject, tmp_path: Path):
    truth = load_truth(cropped(subject_with_truth, Crop(x=8, y=8, side=48, size=24), tmp_path), NUMBERS, 24, 24)
    coverage, albedo, radiance = (stored(subject_with_truth, n)[8:56, 8:56] for n in ("coverage", "albedo", "radiance"))

    def mean(values: np.ndarray) -> np.ndarray:
        return values.reshape(24, 2, 24, 2, *values.shape[2:]).mean((1, 3))

    expected = mean(albedo * coverage[..., None]) / np.maximum(mean(coverage), 1e-6)[..., None]
    np.testing.assert_allclose(truth.maps.albedo[1], expected, atol=1e-5)
    np.testing.assert_allclose(truth.maps.coverage[1], mean(coverage), atol=1e-5)
    np.testing.assert_allclose(truth.picture.radiance[1], mean(radiance), atol=1e-5)
    assert float(truth.camera.intrinsics[0, 0]) == pytest.approx(
        0.5 * float(load_truth(subject_with_truth, NUMBERS, 64, 64).camera.intrinsics[0, 0]), rel=1e-6
    )


def test_a_subject_without_truth_is_one_error(subject_with_truth: Subject, tmp_path: Path):
    with pytest.raises(SubjectError, match=r"has no truth: .*recipe.json is missing") as caught:
        frames_with_truth(replace(subject_with_truth, folder=tmp_path))
    assert "flare synth" in caught.value.hint


@pytest.mark.parametrize(
    ("recipe", "message"), [({}, "does not say"), ({"held_out_from": 99}, "no tracked frame with truth")]
)
def test_a_truth_of_no_held_out_frame_is_one_error(recipe: dict, message: str, subject_with_truth: Subject, tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(SubjectError, match=message):
        frames_with_truth(replace(subject_with_truth, folder=tmp_path))


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
@pytest.mark.parametrize("name", ["14.npz", "relit/left/14.npz", "views/30_0/14.npz", "mesh.npz"])
def test_a_damaged_or_missing_file_is_one_error(name: str, damage: str, subject_with_truth: Subject, tmp_path: Path):
    shutil.copytree(truth_folder(subject_with_truth), tmp_path / "truth")
    path = tmp_path / "truth" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"text" if damage == "text" else path.read_bytes()[: path.stat().st_size // 2])
    subject = replace(subject_with_truth, folder=tmp_path)
    if damage == "gone" and name.startswith(("views", "mesh")):
        assert load_truth(subject, NUMBERS, 64, 64)  # some frames have them, and some subjects
        return
    with pytest.raises(SubjectError, match="can't be read"):
        load_truth(subject, NUMBERS, 64, 64)


def test_a_crop_of_a_truth_without_labels_is_one_error(subject_with_truth: Subject, tmp_path: Path):
    shutil.copytree(truth_folder(subject_with_truth), tmp_path / "truth")
    with np.load(tmp_path / "truth" / "14.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "label"}
    np.savez_compressed(tmp_path / "truth" / "14.npz", **kept)
    source = {"crop": asdict(Crop(x=0, y=0, side=64, size=64))}
    with pytest.raises(SubjectError, match=r"14.npz holds no label"):
        load_truth(replace(subject_with_truth, folder=tmp_path, source=source), NUMBERS, 64, 64)


def test_recordings_of_before_have_their_labels_among_the_pictures(subject_with_truth: Subject, tmp_path: Path):
    """`flare demo`'s truth: no camera, labels, gloss, lights, views or mesh."""
    folder = tmp_path / "truth"
    folder.mkdir()
    for number in NUMBERS:
        with np.load(truth_folder(subject_with_truth) / f"{number}.npz") as arrays:
            old = {n: arrays[n] for n in arrays.files if n not in ("specular", "vertices", "label")}
        np.savez_compressed(folder / f"{number}.npz", **old)
    shutil.copy(truth_folder(subject_with_truth) / "light.hdr", folder)
    shutil.copytree(subject_with_truth.folder / "semantic", tmp_path / "semantic")
    (folder / "recipe.json").write_text(json.dumps({"held_out_from": 13}))
    new = load_truth(subject_with_truth, NUMBERS, 64, 64)
    old = load_truth(replace(subject_with_truth, folder=tmp_path), NUMBERS, 64, 64)
    assert (old.relit, old.views, old.mesh) == ({}, {}, None)
    torch.testing.assert_close(old.camera.camera_from_world, new.camera.camera_from_world)
    assert (old.maps.specular == 1).all()
    assert torch.equal(old.inside, new.inside)
