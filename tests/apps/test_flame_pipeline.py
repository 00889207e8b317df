"""From subject to animation and export with a FLAME-shaped head instead of the bundled one."""

import dataclasses
from pathlib import Path

import pytest
import torch
import trimesh
from support.small_settings import FEW_RAYS

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.relight import RelightRequest, relight
from flare_cli.data.image import read_rgb, write_png
from flare_cli.data.tensor_file import load_tensors
from flare_cli.errors import AvatarError, HeadError
from flare_cli.fit.run_folder import load_run
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.stored import remove_head, save_head
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.film import Film
from flare_cli.subject.folder import Subject, save_subject
from flare_cli.track.label.head_projector import HeadProjector

SETTINGS = ("data.size=48", "stage.steps=8", "material.log2_entries=10", *FEW_RAYS)


@pytest.fixture(scope="module")
def data_folder(flame_head, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLARE_DATA", str(folder))
        save_head(flame_head, {"edition": "2020", "licence": "none, it is made up"})
        yield folder


@pytest.fixture
def subject(data_folder, flame_head, toy_frames, tmp_path) -> Subject:
    n = len(toy_frames.track)
    track = dataclasses.replace(
        toy_frames.track,
        head="flame-2020",
        shape=torch.zeros(flame_head.n_shape),
        expression=0.3 * torch.randn(n, flame_head.n_expression, generator=torch.Generator().manual_seed(0)),
    )
    subject = Subject(folder=tmp_path / "me", track=track)
    shown = toy_frames.pictures
    for kind, pictures in (("image", shown.image), ("mask", shown.mask), ("semantic", shown.label)):
        (subject.folder / kind).mkdir(parents=True)
        for number, picture in zip(track.frames.tolist(), pictures, strict=True):
            write_png(subject.folder / kind / f"{number}.png", picture.numpy())
    save_subject(subject)
    return subject


def test_everything_after_tracking_works_with_flame(subject: Subject, flame_head, tmp_path: Path):
    run = tmp_path / "run"
    fitted = fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=SETTINGS), quiet)
    tensors, header = load_tensors(fitted.avatar)
    assert header["head"] == {"name": "flame-2020", "sha256": flame_head.sha256}
    # Nothing of the licensed model is in the avatar: no tensor of its vertices but the offsets that were fitted.
    vertices = {flame_head.template.numel(), flame_head.weights.numel(), flame_head.shape_dirs.numel()}
    assert not [name for name, tensor in tensors.items() if tensor.numel() in vertices and name != "mesh.offsets"]
    assert evaluate(EvalRequest(run=run), quiet).frames >= 1
    relight(RelightRequest(run=run, film=Film(out=tmp_path / "relit", frames=1, size=48)), quiet)
    made = animate(
        AnimateRequest(run=run, driver=subject.folder, film=Film(out=tmp_path / "anim", frames=2, size=48)), quiet
    )
    assert made.frames == 2
    assert read_rgb(next((tmp_path / "anim").glob("*.png"))).std() > 1
    exported = export(ExportRequest(run=run, kind="glb", out=tmp_path / "out", texture_size=64), quiet)
    assert trimesh.load(exported.file) is not None
    assert all(name.encode() in exported.file.read_bytes() for name in ARKIT_NAMES)


def test_an_avatar_whose_head_is_not_here_says_which_it_needs(subject: Subject, flame_head, tmp_path: Path):
    run = tmp_path / "run"
    fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=SETTINGS), quiet)
    save_head(dataclasses.replace(flame_head, sha256="0" * 64), {})
    with pytest.raises(AvatarError, match="another edition of the head flame-2020"):
        load_run(run, torch.device("cpu"))
    remove_head("flame-2020")
    with pytest.raises(HeadError, match="flame-2020") as caught:
        load_run(run, torch.device("cpu"))
    assert "flare head add" in caught.value.hint
    save_head(flame_head, {})


def test_labels_find_the_regions_of_flame(subject: Subject, flame_head):
    seen = HeadProjector(flame_head)(subject.track, 0)
    for name in ("face", "lips", "nose", "ears", "neck", "eyes"):
        assert seen.shows(name).any(), name
    assert len(seen.rim) == int(flame_head.regions["boundary"].sum())
