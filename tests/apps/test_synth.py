"""`flare synth` as a command: what it says to mistakes, and what it makes where Mitsuba is there."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flare_cli.apps.synth import SynthRequest, synth
from flare_cli.cli.main import app
from flare_cli.config.loading import preset_names
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.parallel.progress import quiet
from flare_cli.show.envmaps import find_envmap
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic import mitsuba
from flare_cli.synthetic.mitsuba import mitsuba_installed
from flare_cli.synthetic.recipe import RECIPES, load_recipe


def run(*words):
    return CliRunner().invoke(app, ["synth", *map(str, words)])


def test_every_shipped_recipe_can_be_read_and_its_maps_are_there():
    names = preset_names(RECIPES)
    assert names == ["dev-1", "dev-2", "dev-3", "dev-4", "dev-5", "dev-6", "report-1", "report-2", "report-3", "tiny"]
    for light in (load_recipe(name).light for name in names):
        for envmap in (light.map, *light.relight):
            assert find_envmap(Path(envmap)).is_file()


def test_dev_and_report_share_no_person_and_no_light_of_a_recording():
    recipes = {name: load_recipe(name) for name in preset_names(RECIPES) if name != "tiny"}
    halves = [[r for name, r in recipes.items() if name.startswith(half)] for half in ("dev", "report")]
    for facts in (lambda r: r.person.seed, lambda r: r.performance.seed, lambda r: r.light.map):
        assert not {facts(r) for r in halves[0]} & {facts(r) for r in halves[1]}
    for half in halves:
        assert {r.person.head for r in half} == {"open-head", "ict"}
        assert {r.person.skin for r in half} == {"light", "medium", "dark"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody",), "there is no recipe called 'nobody'"),
        (("tiny", "--set", "person.hair=green"), "is not one of"),
        (("tiny", "--set", "light.map=nowhere.hdr"), "there is no environment map nowhere.hdr"),
        (("tiny", "--head", "ict"), "ICT"),
    ],
)
def test_a_mistake_ends_in_one_message_and_nothing_is_written(words, message, monkeypatch, tmp_path):
    monkeypatch.setattr("flare_cli.apps.synth.mitsuba_variant", lambda: "any")
    result = run(*words, "-o", tmp_path / "person")
    assert message in str(result.exception)
    assert not (tmp_path / "person").exists()


def test_without_mitsuba_the_command_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(mitsuba, "mitsuba_installed", lambda: False)
    mitsuba.mitsuba_variant.cache_clear()
    result = run("tiny", "-o", tmp_path / "person")
    assert result.exception.hint == "pip install flare-cli[synth]"
    assert not (tmp_path / "person").exists()


@pytest.mark.slow
@pytest.mark.skipif(not mitsuba_installed(), reason="Mitsuba is not installed")
def test_the_tiny_subject_is_filmed_and_tracked(tmp_path):
    result = synth(SynthRequest(out=tmp_path, recipe="tiny"), quiet)
    assert (result.frames, result.held_out_from) == (12, 9)
    subject, tracked = load_subject(tmp_path), load_subject(tmp_path / "tracked")
    assert tracked.source["truth"] == "../truth"
    assert tracked.held_out == (9, 10, 11, 12)
    image, mask = read_rgb(subject.image_path(1)), read_grey(subject.mask_path(1))
    inside = image[mask == 255]
    assert 0.15 < (mask == 255).mean() < 0.6
    # Exposed: neither dark nor burnt out.
    assert 60 < inside.mean() < 190
    assert (inside.max(-1) == 255).mean() < 0.05
    views = list((tmp_path / "truth" / "views").glob("*/*.npz"))
    assert len(views) == 6
    assert (np.load(views[0])["radiance"] > 0).any()
