"""Path traced recordings: their files, what is kept of one that was cut off, and what a given track is off by."""

import functools
import json
import shutil
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic import path_traced
from flare_cli.synthetic.acting import act
from flare_cli.synthetic.path_traced import PathTracedFilm, film_path_traced, rounded, stepped
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recipe import load_recipe
from flare_cli.synthetic.recording import make_person

LIGHT, OTHER = torch.full((8, 16, 3), 0.5), torch.ones(8, 16, 3)
RECIPE = load_recipe(
    "tiny",
    ["performance.training=3", "performance.held_out=2", "render.size=24", "render.samples=4", "camera.crf=0"],
)


class StoppedError(Exception):
    """What a killed run is here."""


@functools.cache
def demo_person():
    return make_person(0)


class PlainPerson:
    """The demo's person, as one that is filmed."""

    def __init__(self, parameters_known=True):
        self.person, self.parameters_known = demo_person(), parameters_known
        self.faces = self.person.head.faces
        self.labels = torch.ones(len(self.person.added), dtype=torch.long)

    def control(self, performance, frame):
        return self.person.added + performance.translation[frame]

    def posed(self, performance, frame):
        return self.person.posed(performance, frame)

    def parameters(self, performance):
        return self.person.parameters(performance) if self.parameters_known else None


class OwnTracer:
    """Our own ray tracer in Mitsuba's place; `asked` is what it was asked for, and when to stop."""

    asked: ClassVar[list[object]] = []

    def __init__(self, mesh):
        self.mesh = mesh

    def trace(self, camera, envmap, *, samples, seed, bounces):
        if self.asked.count("stop"):
            raise StoppedError
        self.asked.append(seed)
        picture = trace_picture(self.mesh, camera, envmap, samples=samples, seed=seed)
        return replace(picture, specular=picture.coverage)


@pytest.fixture
def traced(monkeypatch):
    monkeypatch.setattr(path_traced, "MitsubaHead", OwnTracer)
    OwnTracer.asked.clear()
    return OwnTracer.asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording that was filmed to its end. Copy it."""
    folder = tmp_path_factory.mktemp("whole") / "person"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(path_traced, "MitsubaHead", OwnTracer)
        film(folder)
    return folder


@pytest.fixture
def filmed(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "person")


def film(folder, progress=None, **changed):
    given = {"recipe": RECIPE, "person": PlainPerson(), "light": LIGHT, "relight": {"white": OTHER}, **changed}
    return film_path_traced(folder, PathTracedFilm(**given), progress)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_held_out_frames_have_truth_under_other_light_and_from_other_cameras(traced, tmp_path):
    steps = []
    subject = film(tmp_path, progress=lambda done, total: steps.append((done, total)))
    loaded = load_subject(tmp_path)
    assert (loaded.source, loaded.held_out) == (subject.source, (4, 5))
    # The last two are also lit by another map, one of them is seen by six other cameras.
    assert steps == [(1, 13), (2, 13), (3, 13), (5, 13), (13, 13)]
    assert len(set(traced)) == 13
    truth = tmp_path / "truth"
    assert sorted(p.name for p in (truth / "views").iterdir()) == ["-30_0", "-60_0", "0_-20", "0_20", "30_0", "60_0"]
    frame, relit = np.load(truth / "5.npz"), np.load(truth / "relit" / "white" / "5.npz")
    assert not (truth / "3.npz").exists()
    assert frame["vertices"].shape == (len(np.load(truth / "mesh.npz")["labels"]), 3)
    # Twice the light, the same head.
    inside = frame["coverage"] == 1
    means = [p["radiance"][inside].astype(float).mean() for p in (relit, frame)]
    assert means[0] == pytest.approx(2 * means[1], rel=0.05)
    np.testing.assert_allclose(load_envmap(truth / "relit" / "white" / "light.hdr"), OTHER, rtol=0.01)
    assert not (tmp_path / "film").exists()


def test_pictures_differ_from_the_truth_by_noise_and_compression_alone(traced, tmp_path):
    film(tmp_path / "clean", recipe=replace(RECIPE, camera=replace(RECIPE.camera, noise=0.0)))
    film(tmp_path / "noisy", recipe=replace(RECIPE, camera=replace(RECIPE.camera, noise=0.05)))
    frame = np.load(tmp_path / "clean" / "truth" / "4.npz")
    linear = frame["radiance"].astype(float).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    off = {kind: read_rgb(tmp_path / kind / "image" / "4.png") / 255 - srgb for kind in ("clean", "noisy")}
    # Even lossless H.264 halves the resolution of colour: its mean over a face is right all the same.
    inside = frame["coverage"] == 1
    assert abs(off["clean"][inside].mean()) < 0.01
    assert off["noisy"][inside].std() > 1.5 * off["clean"][inside].std()
    assert (read_grey(tmp_path / "clean" / "semantic" / "4.png") == frame["label"]).all()


def test_a_view_is_taken_from_where_its_name_and_its_file_say(whole):
    truth, eyes = whole / "truth", {}
    number = next(p.stem for p in (truth / "views" / "30_0").glob("*.npz"))
    mesh = PlainPerson().posed(act(3, 2, fps=12.0, seed=3), int(number) - 1)
    pictures, traced_again = {}, {}
    for name in ("30_0", "-30_0", "0_20", "0_-20"):
        seen = np.load(truth / "views" / name / f"{number}.npz")
        said = json.loads((truth / "views" / name / "camera.json").read_text())
        camera = Cameras(
            intrinsics=torch.tensor([said["intrinsics"]]),
            camera_from_world=torch.tensor([said["camera_from_world"]]),
            height=said["size"][0],
            width=said["size"][1],
        )
        eyes[name] = camera.centres()[0]
        pictures[name] = seen["radiance"].astype(float)
        traced_again[name] = trace_picture(mesh, camera, LIGHT, samples=64, seed=1).radiance.numpy()
    off = {(a, b): np.abs(pictures[a] - traced_again[b]).mean() for a in pictures for b in traced_again}
    for name in pictures:
        assert off[name, name] < 0.7 * min(off[name, other] for other in pictures if other != name)
    assert float(eyes["30_0"][0]) == pytest.approx(0.375)  # 0.75 m sin 30
    assert float(eyes["-30_0"][0]) == pytest.approx(-0.375)
    assert float(eyes["0_20"][1]) > float(eyes["0_-20"][1]) + 0.5


def test_a_given_track_errs_as_its_recipe_says_and_the_exact_one_is_kept(traced, whole, tmp_path):
    given = load_subject(whole).track
    exact = json.loads((whole / "truth" / "flame_params.json").read_text())
    frames = torch.tensor([f["pose"] for f in exact["frames"]]).reshape(given.pose.shape)
    error = (given.pose - frames).rad2deg()
    # Drift and noise of 0.3 degrees each.
    assert float(error.std()) == pytest.approx(0.42, rel=0.35)
    still = replace(RECIPE, tracker=replace(RECIPE.tracker, noise=0.0, drift=0.0))
    film(tmp_path / "still", recipe=still)
    torch.testing.assert_close(load_subject(tmp_path / "still").track.pose, frames.float(), atol=1e-6, rtol=0)


def test_a_person_of_another_head_has_a_video_and_no_subject(traced, tmp_path):
    assert film(tmp_path, person=PlainPerson(parameters_known=False)) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["truth", "video.mp4"]


@pytest.mark.parametrize("stop_after", [2, 4])
def test_what_a_cut_off_recording_has_finished_is_kept(traced, whole, tmp_path, stop_after):
    def stop(done, total):
        if done >= stop_after:
            traced.append("stop")

    with pytest.raises(StoppedError):
        film(tmp_path / "cut", progress=stop)
    before = len(traced) - 1
    assert not (tmp_path / "cut" / "flame_params.json").exists()
    traced.clear()
    film(tmp_path / "cut")
    assert len(traced) == 13 - before
    assert files_of(tmp_path / "cut") == files_of(whole)
    traced.clear()
    film(tmp_path / "cut")
    assert traced == []


def test_a_folder_of_another_recording_is_left_alone(traced, filmed):
    before = files_of(filmed)
    other = load_recipe("tiny", ["performance.seed=9"])
    for changed in ({"light": OTHER}, {"relight": {}}, {"recipe": other}):
        with pytest.raises(SubjectError, match="another subject"):
            film(filmed, **changed)
    assert files_of(filmed) == before


def test_pictures_of_a_recording_that_travelled_without_them_are_read_from_its_video(traced, whole, filmed):
    shutil.rmtree(filmed / "image")
    film(filmed)
    assert files_of(filmed) == files_of(whole)
    assert traced == []


def test_stored_radiance_is_right_to_one_part_in_128():
    values = torch.logspace(-3, 3, 1000)[None, :, None].expand(1, 1000, 3)
    np.testing.assert_allclose(rounded(values), values, rtol=1 / 128 + 1 / 2048)  # and that of a half float
    assert abs((rounded(values) / values.numpy()).mean() - 1) < 1e-3  # to the nearest: neither darker nor brighter


def test_stored_normals_turn_by_at_most_a_fifth_of_a_degree():
    normals = torch.nn.functional.normalize(torch.randn(10, 100, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    stored = torch.nn.functional.normalize(torch.from_numpy(stepped(normals)).double(), dim=-1)
    # The corner of a cube of edge 1/256 is sqrt(3) / 512 from its middle.
    assert float((stored - normals).norm(dim=-1).max()) < 3**0.5 / 512
