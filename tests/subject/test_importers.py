"""Every format, written by its own rules from one known scene, gives back that scene."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from formats.scene import LIGHT, Scene, make_scene, project, toy_head, vertex_normals
from formats.writers import (
    write_imavatar,
    write_insta,
    write_metrical_tracker,
    write_neural_head_avatars,
    write_spark,
    write_vhap,
)

from flare_cli.errors import SubjectError
from flare_cli.head.skinning import pose_vertices
from flare_cli.subject.folder import Subject
from flare_cli.subject.importers.detect import read_dataset
from flare_cli.subject.importers.placing import place
from flare_cli.subject.track import Track

WRITERS = {
    "imavatar": (write_imavatar, "imavatar", False),
    "imavatar, legacy pixels": (lambda f, s: write_imavatar(f, s, legacy=True), "imavatar", False),
    "imavatar, moving camera": (lambda f, s: write_imavatar(f, s, moving_camera=True), "imavatar", False),
    "spark": (write_spark, "spark", False),
    "vhap": (write_vhap, "gaussian-avatars", False),
    "metrical-tracker": (write_metrical_tracker, "metrical-tracker", True),
    "insta": (write_insta, "insta", True),
    "insta, OpenGL": (lambda f, s: write_insta(f, s, opengl=True), "insta", True),
    "neural head avatars": (write_neural_head_avatars, "neural-head-avatars", False),
}
WITH_NECK = [name for name, (_, _, head_fixed) in WRITERS.items() if not head_fixed]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


def imported(folder: Path, scene: Scene) -> Subject:
    sequences = read_dataset(folder)
    return place(sequences, toy_head(sequences.heads[0]), folder=folder / "out", fps=25)


def seen(track: Track, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World and camera positions (metres) and pixels of all vertices in all frames."""
    vertices = pose_vertices(
        scene.head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    ).double()
    view = track.cameras().camera_from_world.double()
    in_camera = vertices @ view[:, :, :3].transpose(1, 2) + view[:, None, :, 3]
    return vertices.numpy(), in_camera.numpy(), project(in_camera.numpy(), track.camera.intrinsics[0].double().numpy())


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


def test_head_fixed_world_becomes_an_upright_still_camera(scene, tmp_path):
    write_metrical_tracker(tmp_path, scene)
    track = imported(tmp_path, scene).track
    assert len(track.camera) == 1
    np.testing.assert_allclose(track.camera.camera_from_world[0, :, :3], np.diag([1, -1, -1]), atol=1e-7)
    assert track.pose[:, 0].std() > 0.05


@pytest.mark.parametrize(
    ("name", "held_out"), [("vhap", 2), ("insta", 1), ("neural head avatars", 1), ("metrical-tracker", None)]
)
def test_the_data_sets_own_split_is_kept(name, held_out, scene, tmp_path):
    WRITERS[name][0](tmp_path, scene)
    subject = imported(tmp_path, scene)
    assert (None if subject.held_out is None else len(subject.held_out)) == held_out


def test_videos_in_folders_with_their_own_lenses_and_split(tmp_path):
    scenes = [make_scene(3, seed=seed) for seed in range(3)]
    for folder, one in zip(("a", "b", "test"), scenes, strict=True):
        write_imavatar(tmp_path / folder, one)
    subject = imported(tmp_path, scenes[0])
    assert subject.videos == ("a", "b", "test")
    assert subject.track.frames.tolist() == list(range(1, 10))
    assert subject.held_out == (7, 8, 9)
    for shot, scene in zip(subject.track.shots(), [scenes[0], *scenes[1:]], strict=True):
        truth = Scene(**{**scene.__dict__, "shape": scenes[1].shape})  # FLARE: the last training video's shape
        assert np.abs(seen(shot, scene)[2] - truth.pixels()).max() < 0.1


def test_evaluation_video_by_name(tmp_path):
    for folder in ("a", "b"):
        write_imavatar(tmp_path / folder, make_scene(2))
    sequences = read_dataset(tmp_path, evaluation=("a",))
    assert [(v.name, bool(v.held_out.all())) for v in sequences.videos] == [("b", False), ("a", True)]
    assert read_dataset(tmp_path).split is False
    with pytest.raises(SubjectError, match="no video called 'c'"):
        read_dataset(tmp_path, evaluation=("c",))


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


def test_an_edition_is_never_mixed_with_another(scene, tmp_path):
    write_imavatar(tmp_path, scene)
    with pytest.raises(SubjectError, match="flame-2020, not of flame-2023"):
        place(read_dataset(tmp_path), toy_head("flame-2023"), folder=tmp_path, fps=25)


def _edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _edit_npz(path: Path, **changes) -> None:
    arrays = dict(np.load(path))
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        else:
            arrays[name] = change(arrays[name])
    np.savez(path, **arrays)


def _edit_frame(folder: Path, change) -> None:
    path = folder / "checkpoint" / "00001.frame"
    value = torch.load(path, weights_only=False)
    change(value)
    torch.save(value, path)


def _with_nan(values: np.ndarray) -> np.ndarray:
    values = np.array(values, np.float64)
    values.flat[0] = np.nan
    return values


def _shrink(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-10])


PARAMS, TRACKED = "flame_params.json", "tracking_0/tracked_flame_params.npz"
MISSING, SHAPE, COUNT, PICTURE, NAN, SIZE = (
    "key .* is missing",
    "has the shape|coefficients",
    "unequal frame counts|has no checkpoint|does not exist|is missing",
    "does not exist",
    "not finite",
    "mixed resolutions",
)
# (format, what is done to it, what the message must say)
DAMAGE = {
    "imavatar: no intrinsics": ("imavatar", lambda d: _edit_json(d / PARAMS, lambda v: v.pop("intrinsics")), MISSING),
    "imavatar: no pose": ("imavatar", lambda d: _edit_json(d / PARAMS, lambda v: v["frames"][1].pop("pose")), MISSING),
    "imavatar: short pose": (
        "imavatar",
        lambda d: _edit_json(d / PARAMS, lambda v: v["frames"][1]["pose"].pop()),
        SHAPE,
    ),
    "imavatar: uneven expressions": (
        "imavatar",
        lambda d: _edit_json(d / PARAMS, lambda v: v["frames"][2]["expression"].pop()),
        SHAPE,
    ),
    "imavatar: no picture": ("imavatar", lambda d: (d / "image/2.png").unlink(), PICTURE),
    "imavatar: NaN": (
        "imavatar",
        lambda d: _edit_json(d / PARAMS, lambda v: v["frames"][0]["expression"].__setitem__(3, float("nan"))),
        NAN,
    ),
    "imavatar: sizes": ("imavatar", lambda d: _shrink(d / "image/3.png"), SIZE),
    "spark: no world_mat": (
        "spark",
        lambda d: _edit_json(d / "flame_params_optimized.json", lambda v: v["frames"][0].pop("world_mat")),
        MISSING,
    ),
    "vhap: no matrix": (
        "vhap",
        lambda d: _edit_json(d / "transforms.json", lambda v: v["frames"][0].pop("transform_matrix")),
        MISSING,
    ),
    "vhap: no neck": ("vhap", lambda d: _edit_npz(d / "flame_param/00001.npz", neck_pose=None), MISSING),
    "vhap: eyes": (
        "vhap",
        lambda d: _edit_npz(d / "flame_param/00001.npz", eyes_pose=lambda v: v[:, :3]),
        SHAPE,
    ),
    "vhap: no parameters": ("vhap", lambda d: (d / "flame_param/00002.npz").unlink(), COUNT),
    "vhap: no picture": ("vhap", lambda d: (d / "images/00002_00.png").unlink(), PICTURE),
    "vhap: NaN": ("vhap", lambda d: _edit_npz(d / "flame_param/00001.npz", expr=_with_nan), NAN),
    "vhap: sizes": ("vhap", lambda d: _shrink(d / "images/00003_00.png"), SIZE),
    "metrical: no opencv": ("metrical-tracker", lambda d: _edit_frame(d, lambda v: v.pop("opencv")), MISSING),
    "metrical: jaw": (
        "metrical-tracker",
        lambda d: _edit_frame(d, lambda v: v["flame"].update(jaw=np.zeros((1, 3)))),
        SHAPE,
    ),
    "metrical: fewer expressions": (
        "metrical-tracker",
        lambda d: _edit_frame(d, lambda v: v["flame"].update(exp=np.zeros((1, 50)))),
        SHAPE,
    ),
    "metrical: no picture": ("metrical-tracker", lambda d: (d / "input/00001.png").unlink(), PICTURE),
    "metrical: NaN": (
        "metrical-tracker",
        lambda d: _edit_frame(d, lambda v: v["flame"].update(exp=_with_nan(v["flame"]["exp"]))),
        NAN,
    ),
    "metrical: sizes": ("metrical-tracker", lambda d: _shrink(d / "input/00001.png"), SIZE),
    "insta: no focal": ("insta", lambda d: _edit_json(d / "transforms.json", lambda v: v.pop("fl_x")), MISSING),
    "insta: matrix": (
        "insta",
        lambda d: _edit_json(d / "transforms.json", lambda v: v["frames"][0]["transform_matrix"].pop()),
        SHAPE,
    ),
    "insta: one checkpoint less": ("insta", lambda d: (d / "checkpoint/00003.frame").unlink(), COUNT),
    "insta: no picture": ("insta", lambda d: (d / "images/00001.png").unlink(), PICTURE),
    "insta: NaN": (
        "insta",
        lambda d: _edit_json(
            d / "transforms.json", lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(0, float("nan"))
        ),
        NAN,
    ),
    "insta: sizes": ("insta", lambda d: _shrink(d / "images/00001.png"), SIZE),
    "nha: no RT": ("neural head avatars", lambda d: _edit_npz(d / TRACKED, RT=None), MISSING),
    "nha: jaw": ("neural head avatars", lambda d: _edit_npz(d / TRACKED, jaw_pose=lambda v: v[:, :2]), SHAPE),
    "nha: counts": ("neural head avatars", lambda d: _edit_npz(d / TRACKED, expr=lambda v: v[:-1]), COUNT),
    "nha: no picture": ("neural head avatars", lambda d: (d / "frame_0001/image_0000.png").unlink(), PICTURE),
    "nha: NaN": ("neural head avatars", lambda d: _edit_npz(d / TRACKED, rotation=_with_nan), NAN),
    "nha: sizes": ("neural head avatars", lambda d: _shrink(d / "frame_0001/image_0000.png"), SIZE),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_error(name, scene, tmp_path):
    kind, damage, expected = DAMAGE[name]
    WRITERS[kind][0](tmp_path, scene)
    damage(tmp_path)
    with pytest.raises(SubjectError, match=expected) as caught:
        read_dataset(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def test_unknown_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(SubjectError) as caught:
        read_dataset(tmp_path)
    assert "flame_params.json" in caught.value.hint
    with pytest.raises(SubjectError, match="not a format"):
        read_dataset(tmp_path, format_name="nerf")
    with pytest.raises(SubjectError, match="not a folder"):
        read_dataset(tmp_path / "nowhere")


def _mirror(params) -> None:
    for frame in params["frames"]:
        frame["world_mat"][0] = [-x for x in frame["world_mat"][0]]


def _stretch(params) -> None:
    for frame in params["frames"]:
        frame["world_mat"][1] = [1.5 * x for x in frame["world_mat"][1]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_mirror, "mirrors the world"),
        (_stretch, "scales or shears"),
        (lambda v: v.update(intrinsics=[0, 1, 0.5, 0.5]), "focal length is 0"),
    ],
)
def test_impossible_cameras_are_named(change, expected, scene, tmp_path):
    write_imavatar(tmp_path, scene)
    _edit_json(tmp_path / PARAMS, change)
    with pytest.raises(SubjectError, match=expected):
        imported(tmp_path, scene)


def _paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@pytest.mark.parametrize(
    ("name", "file"), [("imavatar", PARAMS), ("vhap", "transforms.json"), ("insta", "transforms.json")]
)
def test_broken_json_never_ends_in_a_traceback(name, file, tmp_path):
    scene = make_scene(2)
    WRITERS[name][0](tmp_path, scene)
    whole = (tmp_path / file).read_text()
    places = [path for path in _paths(json.loads(whole)) if path]
    chance = np.random.default_rng(0)
    for _ in range(60):
        value = json.loads(whole)
        *parents, last = places[chance.integers(len(places))]
        spot = value
        for key in parents:
            spot = spot[key]
        spot[last] = [None, "x", [], {}, -1, float("nan"), 1e308, [[1]]][chance.integers(8)]
        (tmp_path / file).write_text(json.dumps(value))
        try:
            place(read_dataset(tmp_path, format_name=WRITERS[name][1]), _head_for(name), folder=tmp_path, fps=25)
        except SubjectError as error:
            assert error.hint  # noqa: PT017 - many values do no harm, so nothing need be raised


def _head_for(name: str):
    return toy_head("flame-2023" if name == "vhap" else "flame-2020")
