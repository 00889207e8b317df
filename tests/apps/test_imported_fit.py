"""An imported FLAME recording of several videos goes all the way: fit, score the unseen video, predictions, drivers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from support.formats.scene import Scene, make_scene
from support.formats.writers import write_imavatar

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.convert import ConvertRequest, convert
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.import_dataset import ImportRequest, import_dataset
from flare_cli.apps.relight import RelightRequest, relight
from flare_cli.data.image import read_rgb
from flare_cli.head.model import HeadModel
from flare_cli.head.stored import save_head
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.film import Film
from flare_cli.show.predictions import PredictionsRequest
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic.recording import make_synthetic_subject

FRAMES = 4
# The published recipe as it is, but for its length and the size of its pictures.
SETTINGS = ("data.size=64", "stage.0.steps=8", "stage.0.subdivide_at=4", "stage.1.steps=4", "stage.batch=1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, flame_head: HeadModel):
    """The FLAME-shaped head installed, the subject `me` of two training videos and one to evaluate, and its fit."""
    root = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLARE_DATA", str(root / "data"))
        save_head(flame_head, {})
        for name, seed in (("one", 1), ("two", 2), ("test", 3)):
            scene = make_scene(FRAMES, seed=seed, neck=True, head=flame_head)
            same_person = Scene(**{**scene.__dict__, "shape": make_scene(1).shape})
            write_imavatar(root / "set" / name, same_person)
        import_dataset(ImportRequest(dataset=root / "set", out=root / "me"))
        fit(FitRequest(subject=root / "me", run=root / "run", config="paper", overrides=SETTINGS), quiet)
        yield root


def test_the_import_is_proved_and_keeps_three_videos(place: Path):
    subject = load_subject(place / "me")
    assert subject.videos == ("one", "two", "test")
    assert subject.track.head == "flame-2020"
    assert subject.held_out == (9, 10, 11, 12)
    assert len(subject.track.camera) == 3


def test_eval_scores_the_evaluation_video(place: Path):
    request = PredictionsRequest(folder=place / "predictions", envmaps=(Path("overcast"),))
    result = evaluate(EvalRequest(run=place / "run", predictions=request), quiet)
    with result.table.open() as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["9", "10", "11", "12"]
    assert result.mean["silhouette_iou"] is not None
    assert result.mean["silhouette_iou"] > 0.9  # the true track
    assert json.loads((place / "predictions" / "predictions.json").read_text())["frames"] == [9, 10, 11, 12]
    assert (place / "predictions" / "relit" / "overcast" / "12.png").is_file()


def test_every_video_is_relit_through_its_own_camera(place: Path):
    request = RelightRequest(run=place / "run", film=Film(out=place / "relit", size=32))
    assert relight(request, quiet).frames == 3 * FRAMES
    assert len(list((place / "relit").iterdir())) == 3 * FRAMES


def test_a_preset_and_another_heads_subject_drive_it(place: Path):
    talk = animate(
        AnimateRequest(run=place / "run", driver=Path("talk"), film=Film(out=place / "talk", frames=40, size=32)), quiet
    )
    assert talk.frames == 40
    pictures = [read_rgb(place / "talk" / f"{n:05d}.png").astype(int) for n in (1, 20, 30, 40)]
    assert max(np.abs(p - pictures[0]).max() for p in pictures[1:]) > 5
    make_synthetic_subject(place / "driver", frames=10, size=48, samples=1)
    moved = animate(
        AnimateRequest(run=place / "run", driver=place / "driver", film=Film(out=place / "moved", size=32)), quiet
    )
    assert moved.frames == 10
    assert "converted from open-head to flame-2020" in moved.notes[0]


def test_it_goes_out_to_peers_and_comes_back(place: Path):
    convert(ConvertRequest(subject=place / "me", to="gaussian-avatars", out=place / "peers"))
    again = import_dataset(ImportRequest(dataset=place / "peers", out=place / "again", head="flame-2020"))
    assert again.held_out == FRAMES
    assert min(proof.iou or 0 for proof in again.proofs.values()) > 0.9
