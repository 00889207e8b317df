"""The subject folder on disk: exact round trip, the published format, and clear errors."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.data.image import write_png
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras, look_at
from flare_cli.subject.folder import FrameQuality, Subject, load_subject, save_subject
from flare_cli.subject.track import Track


def subject_in(folder: Path, seed: int, frames: int, *, turned: bool = False, scale: float = 1.0) -> Subject:
    """A subject of random numbers with 1 x 1 pictures."""
    chance = torch.Generator().manual_seed(seed)

    def random(*shape):
        return scale * torch.randn(*shape, generator=chance)

    eye = torch.tensor([[0.3, 0.2, 0.9]]) if turned else torch.tensor([[0.0, 0.0, 0.9]])
    camera = look_at(eye, torch.zeros(1, 3), fov_y=0.4, height=96, width=64)
    intrinsics = torch.tensor([[150.0, 151.5, 30.25, 50.75]])
    numbers = torch.randperm(50, generator=chance)[:frames].sort().values + 1
    track = Track(
        head="open-head",
        frames=numbers,
        shape=random(7),
        expression=random(frames, 5),
        pose=random(frames, 5, 3),
        translation=random(frames, 3),
        camera=replace(camera, intrinsics=intrinsics),
        fps=29.97,
    )
    for number in numbers.tolist():
        write_png(folder / "image" / f"{number}.png", np.zeros((1, 1, 3), np.uint8))
    quality = (
        FrameQuality(number=1, time=0.0, error=0.0125, confidence=0.9),
        FrameQuality(number=2, time=1 / 29.97, error=None, confidence=0.0, excluded="no face"),
    )
    return Subject(folder=folder, track=track, quality=quality, source={"video": "me.mp4", "key": "abc"})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans(), st.sampled_from([1e-3, 1.0, 50.0]))
def test_saving_and_loading_changes_nothing(seed, frames, turned, scale):
    with tempfile.TemporaryDirectory() as place:
        saved = subject_in(Path(place), seed, frames, turned=turned, scale=scale)
        save_subject(saved)
        loaded = load_subject(Path(place))
    for name in ("frames", "shape", "expression", "pose"):
        torch.testing.assert_close(getattr(loaded.track, name), getattr(saved.track, name), rtol=0, atol=0)
    # The translation passes through the camera: float32 rounding of positions a metre away.
    torch.testing.assert_close(loaded.track.translation, saved.track.translation, rtol=2e-7, atol=2e-7 * (1 + scale))
    for name in ("intrinsics", "camera_from_world"):
        torch.testing.assert_close(getattr(loaded.track.camera, name), getattr(saved.track.camera, name))
    assert (loaded.track.camera.height, loaded.track.camera.width) == (96, 64)
    assert (loaded.track.fps, loaded.track.head) == (29.97, "open-head")
    assert (loaded.quality, loaded.source) == (saved.quality, saved.source)


def test_the_published_format_projects_a_point_to_the_same_pixel(tmp_path):
    """By the format's own rules: world = 4 x metres, OpenGL axes, intrinsics as fractions with a negative fx."""
    subject = subject_in(tmp_path, 3, 1, scale=0.02)
    save_subject(subject)
    params = json.loads((tmp_path / "flame_params.json").read_text())
    (frame,), (i0, i1, i2, i3) = params["frames"], params["intrinsics"]
    vertex = np.array([0.03, -0.05, 0.1])
    x, y, z = np.array(frame["world_mat"])[:, :3] @ (4 * vertex) + np.array(frame["world_mat"])[:, 3]
    assert i0 < 0
    pixel = [64 * (i2 + i0 * x / z), 96 * (i3 + i1 * y / z)]
    world = torch.from_numpy(vertex).float() + subject.track.translation[0]
    expected = subject.track.camera.project(world[None, None])[0, 0]
    np.testing.assert_allclose(pixel, expected.numpy(), rtol=1e-4)


def test_half_a_file_never_appears(tmp_path):
    subject = subject_in(tmp_path, 0, 2)
    save_subject(subject)
    before = (tmp_path / "flare.json").read_text()
    broken = replace(subject, track=replace(subject.track, fps=float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        save_subject(broken)
    assert (tmp_path / "flare.json").read_text() == before
    assert not list(tmp_path.glob("*.part"))


def _edit(folder: Path, name: str, change) -> None:
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))


DAMAGE = {
    "no parameters": lambda folder: (folder / "flame_params.json").unlink(),
    "no sidecar": lambda folder: (folder / "flare.json").unlink(),
    "not JSON": lambda folder: (folder / "flame_params.json").write_text("{"),
    "not an object": lambda folder: (folder / "flame_params.json").write_text("[]"),
    "no frames": lambda folder: _edit(folder, "flame_params.json", lambda v: v.update(frames=[])),
    "no intrinsics": lambda folder: _edit(folder, "flame_params.json", lambda v: v.pop("intrinsics")),
    "short pose": lambda folder: _edit(folder, "flame_params.json", lambda v: v["frames"][0]["pose"].pop()),
    "infinite shape": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v.update(shape_params=[float("inf")])
    ),
    "head: is missing": lambda folder: _edit(folder, "flare.json", lambda v: v.pop("head")),
    "version": lambda folder: _edit(folder, "flare.json", lambda v: v.update(version=99)),
    "fps": lambda folder: _edit(folder, "flare.json", lambda v: v.update(fps=0)),
    "fps below 0": lambda folder: _edit(folder, "flare.json", lambda v: v.update(fps=-25)),
    "fps NaN": lambda folder: _edit(folder, "flare.json", lambda v: v.update(fps=float("nan"))),
    "fps of many digits": lambda folder: _edit(folder, "flare.json", lambda v: v.update(fps=10**400)),
    "size of one pixel": lambda folder: _edit(folder, "flare.json", lambda v: v.update(size=[96])),
    "size below 0": lambda folder: _edit(folder, "flare.json", lambda v: v.update(size=[96, -64])),
    "huge size": lambda folder: _edit(folder, "flare.json", lambda v: v.update(size=[96, 60000])),
    "no rotation": lambda folder: _edit(folder, "flare.json", lambda v: v["camera_from_world"][0].__setitem__(0, 2.0)),
    "quality": lambda folder: _edit(folder, "flare.json", lambda v: v["quality"][0].update(error="good")),
    "focal length 0": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v.update(intrinsics=[0, 1.5, 0.5, 0.5])
    ),
    "focal length below 0": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v.update(intrinsics=[-1.5, -1.5, 0.5, 0.5])
    ),
    "focal length NaN": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v.update(intrinsics=[float("nan"), 1.5, 0.5, 0.5])
    ),
    "a frame twice": lambda folder: _edit(folder, "flame_params.json", lambda v: v["frames"].append(v["frames"][0])),
    "a frame without a number": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v["frames"][0].update(file_path="./image/one")
    ),
    "a frame whose name is a number": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v["frames"][0].update(file_path=1)
    ),
    "frames that are texts": lambda folder: _edit(folder, "flame_params.json", lambda v: v.update(frames=["1", "2"])),
    "uneven expressions": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v["frames"][0]["expression"].pop()
    ),
    "far away": lambda folder: _edit(
        folder, "flame_params.json", lambda v: v["frames"][0]["world_mat"][0].__setitem__(3, 1e30)
    ),
    "nested": lambda folder: (folder / "flare.json").write_text('{"version":' + 10**5 * "["),
    "unknown key": lambda folder: _edit(folder, "flare.json", lambda v: v["quality"][0].update(colour="red")),
    "no picture": lambda folder: next((folder / "image").iterdir()).unlink(),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_error(name, tmp_path):
    save_subject(subject_in(tmp_path, 1, 2))
    DAMAGE[name](tmp_path)
    with pytest.raises(SubjectError) as caught:
        load_subject(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def test_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(SubjectError, match="not a folder"):
        load_subject(tmp_path / "nowhere")


def test_some_frames_of_a_track(tmp_path):
    track = subject_in(tmp_path, 2, 5).track
    chosen = track[torch.tensor([0, 3])]
    assert len(chosen) == 2
    torch.testing.assert_close(chosen.pose[1], track.pose[3])
    assert isinstance(chosen.camera, Cameras)


def test_several_videos_keep_their_cameras_and_split(tmp_path):
    one = subject_in(tmp_path, 5, 4)
    other = look_at(torch.tensor([[0.2, 0.0, 1.1]]), torch.zeros(1, 3), fov_y=0.5, height=96, width=64)
    camera = replace(
        one.track.camera,
        intrinsics=torch.cat([one.track.camera.intrinsics, other.intrinsics]),
        camera_from_world=torch.cat([one.track.camera.camera_from_world, other.camera_from_world]),
    )
    track = replace(one.track, camera=camera, video=torch.tensor([0, 1, 1, 0]))
    held_out = (int(track.frames[1]),)
    save_subject(replace(one, track=track, videos=("first", "second"), held_out=held_out))
    loaded = load_subject(tmp_path)
    assert (loaded.videos, loaded.held_out) == (("first", "second"), held_out)
    points = track.translation[:, None]
    torch.testing.assert_close(
        loaded.track.cameras().project(loaded.track.translation[:, None]), track.cameras().project(points)
    )
    assert loaded.track.video is not None
    assert loaded.track.video.tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(loaded.track.cameras().intrinsics[1:2], other.intrinsics)
