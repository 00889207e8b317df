"""Recordings with more truth: their files, and what is kept of one that was cut off."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flare_cli.apps.synth import SynthRequest, synth
from flare_cli.cli.main import app
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import SubjectError
from flare_cli.parallel.progress import quiet
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic import mitsuba, path_traced
from flare_cli.synthetic.mitsuba import mitsuba_installed
from flare_cli.synthetic.path_traced import PathRecipe, make_path_traced_subject
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recording import make_synthetic_subject

RECIPE = PathRecipe(seed=0, frames=5, size=24, samples=4, bounces=1)
LIGHT, OTHER = torch.full((8, 16, 3), 0.5), torch.ones(8, 16, 3)


class StoppedError(Exception):
    """What a killed run is here."""


@pytest.fixture
def traced(monkeypatch):
    """Our own ray tracer in Mitsuba's place; the list of what it was asked for, and when to stop."""
    asked = []

    def trace(mesh, camera, envmap, *, samples, seed, bounces):
        if asked.count("stop"):
            raise StoppedError
        asked.append(seed)
        return trace_picture(mesh, camera, envmap, samples=samples, seed=seed)

    monkeypatch.setattr(path_traced, "trace_path", trace)
    return asked


def film(folder, progress=None, **changed):
    given = {"light": LIGHT, "relight": {"white": OTHER}, "progress": progress, **changed}
    return make_path_traced_subject(folder, given.pop("recipe", RECIPE), **given)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_held_out_frames_have_truth_under_other_light_and_from_other_cameras(traced, tmp_path):
    steps = []
    subject = film(tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert load_subject(tmp_path).source == subject.source
    assert subject.source["held_out_from"] == 5
    # The last one also has another light and four other cameras.
    assert steps == [(1, 10), (2, 10), (3, 10), (4, 10), (10, 10)]
    assert len(set(traced)) == 10
    truth = tmp_path / "truth"
    assert sorted(p.name for p in (truth / "views").iterdir()) == ["-30_0", "0_-20", "0_20", "30_0"]
    frame, relit = np.load(truth / "5.npz"), np.load(truth / "relit" / "white" / "5.npz")
    assert not (truth / "relit" / "white" / "4.npz").exists()
    assert relit["radiance"].dtype == np.float16
    # Twice the light, the same head.
    inside = frame["coverage"] == 1
    means = [p["radiance"][inside].astype(float).mean() for p in (relit, frame)]
    assert means[0] == pytest.approx(2 * means[1], rel=0.05)
    np.testing.assert_allclose(load_envmap(truth / "relit" / "white" / "light.hdr"), OTHER, rtol=0.01)


def test_a_view_is_taken_from_where_its_name_and_its_file_say(traced, tmp_path):
    film(tmp_path)
    front, eyes = np.load(tmp_path / "truth" / "5.npz"), {}
    for name, (axis, sign) in {"30_0": (0, 1), "-30_0": (0, -1), "0_20": (1, 1), "0_-20": (1, -1)}.items():
        seen = np.load(tmp_path / "truth" / "views" / name / "5.npz")
        said = json.loads((tmp_path / "truth" / "views" / name / "camera.json").read_text())
        camera = Cameras(
            intrinsics=torch.tensor([said["intrinsics"]]),
            camera_from_world=torch.tensor([said["camera_from_world"]]),
            height=said["size"][0],
            width=said["size"][1],
        )
        eyes[name] = camera.centres()[0]
        # What a camera sees faces it, more than it faces the recording's.
        mean = [p["normal"][p["coverage"] == 1].astype(float).mean(0)[axis] for p in (seen, front)]
        assert sign * (mean[0] - mean[1]) > 0.1
        assert set(seen.files) == {"radiance", "coverage", "albedo", "roughness", "normal", "depth", "label"}
    assert float(eyes["30_0"][0]) == pytest.approx(0.375)  # 0.75 m sin 30
    assert float(eyes["-30_0"][0]) == pytest.approx(-0.375)
    assert float(eyes["0_20"][1]) > float(eyes["0_-20"][1]) + 0.5


def test_what_a_cut_off_recording_has_finished_is_kept(traced, tmp_path):
    film(tmp_path / "whole")
    whole = files_of(tmp_path / "whole")

    def stop(done, total):
        if done == 2:
            traced.append("stop")

    with pytest.raises(StoppedError):
        film(tmp_path / "cut", progress=stop)
    assert not (tmp_path / "cut" / "flame_params.json").exists()
    kept = [n for n in range(1, 6) if (tmp_path / "cut" / "truth" / f"{n}.npz").is_file()]
    assert 2 <= len(kept) < 5
    traced.clear()
    film(tmp_path / "cut")
    assert len(traced) == 10 - len(kept)
    assert files_of(tmp_path / "cut") == whole
    traced.clear()
    film(tmp_path / "cut")
    assert traced == []


def test_a_folder_of_another_recording_is_left_alone(traced, tmp_path):
    film(tmp_path)
    before = files_of(tmp_path)
    for changed in ({"light": OTHER}, {"relight": {}}, {"recipe": replace(RECIPE, seed=1)}):
        with pytest.raises(SubjectError, match="another subject"):
            film(tmp_path, **changed)
    assert files_of(tmp_path) == before
    make_synthetic_subject(tmp_path / "demo", frames=1, size=8, samples=1)
    with pytest.raises(SubjectError, match="another subject"):
        film(tmp_path / "demo")


def test_without_mitsuba_the_command_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(mitsuba, "mitsuba_installed", lambda: False)
    mitsuba.mitsuba_variant.cache_clear()
    result = CliRunner().invoke(app, ["synth", "-o", str(tmp_path / "person")])
    assert result.exception.hint == "pip install flare-cli[synth]"
    assert not (tmp_path / "person").exists()


@pytest.mark.skipif(not mitsuba_installed(), reason="Mitsuba is not installed")
def test_the_command_films_a_person_under_a_bundled_map(tmp_path):
    request = SynthRequest(
        out=tmp_path, light=Path("sunset"), relight=(Path("overcast"),), frames=5, size=64, samples=16
    )
    result = synth(request, quiet)
    assert (result.frames, result.held_out_from) == (5, 5)
    subject = load_subject(tmp_path)
    image, mask = read_rgb(subject.image_path(1)), read_grey(subject.mask_path(1))
    labels = read_grey(subject.label_path(1))
    assert 0.25 < (mask == 255).mean() < 0.6
    assert (labels[mask == 255] > 0).all()
    # Exposed: neither dark nor burnt out.
    inside = image[mask == 255]
    assert 60 < inside.mean() < 190
    assert (inside.max(-1) == 255).mean() < 0.05
    assert (tmp_path / "truth" / "relit" / "overcast" / "5.npz").is_file()
    assert (tmp_path / "truth" / "views" / "30_0" / "5.npz").is_file()
