"""One of each file that earlier versions wrote, by those versions: read as they were meant, or refused with the reason.

    files/2026-11-22.zip    commit 02be5aa: subject 1, avatar 1, config 1, a checkpoint 1 that does not say whose it is
    files/2026-11-24.zip    commit 5344be2: subject 1, avatar 2, config 1, checkpoint 1
    files/2026-11-30.zip    commit f04371e: subject 1, avatar 3, config 2, checkpoint 2
    files/0.2.0.zip         that release: subject 1, avatar 4, config 2, checkpoint 2
    files/2026-12-01.zip    commit 7ede013: subject 1, avatar 5, config 2, checkpoint 2
    files/2026-12-01-hair.zip  today's: subject 1 (with labels of hair that hangs), avatar 6, config 2, checkpoint 2

Each holds `me/` (a subject of five frames), `run/` (a fit to it, with the sheet that it drew), and `cut/` (the same
fit, cut off after 3 of 6 steps). A version that writes other files adds a zip, and leaves those that are there.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.apps.fit import FitRequest, fit
from flare_cli.avatar.storage import AVATAR_VERSION
from flare_cli.config.loading import CONFIG_VERSION, load_config
from flare_cli.data.image import read_rgb
from flare_cli.data.tensor_file import load_tensors, save_tensors
from flare_cli.errors import AvatarError, ConfigError, FlareError, SubjectError
from flare_cli.fit.checkpoint import CHECKPOINT, CHECKPOINT_VERSION
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.fit.run_folder import AVATAR_FILE, load_run
from flare_cli.parallel.progress import quiet
from flare_cli.show.track_pictures import comparison_sheet
from flare_cli.subject.folder import SIDECAR, SIDECAR_VERSION, load_subject

FILES = Path(__file__).parent / "files"
FIRST, BEFORE, LAST, RELEASE = "2026-11-22", "2026-11-24", "2026-11-30", "0.2.0"
BALD, NOW = "2026-12-01", "2026-12-01-hair"
VERSIONS = {  # of avatar, config, checkpoint; subjects are of version 1
    FIRST: (1, 1, 1),
    BEFORE: (2, 1, 1),
    LAST: (3, 2, 2),
    RELEASE: (4, 2, 2),
    BALD: (5, 2, 2),
    NOW: (AVATAR_VERSION, CONFIG_VERSION, CHECKPOINT_VERSION),
}
CPU = torch.device("cpu")


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(FILES / f"{name}.zip") as files:
        files.extractall(folder)
    return folder


@pytest.mark.parametrize("name", VERSIONS)
def test_the_files_are_of_these_versions(name: str, tmp_path: Path):
    files = unpacked(name, tmp_path)
    _, avatar = load_tensors(files / "run" / AVATAR_FILE)
    _, checkpoint = load_tensors(files / "cut" / CHECKPOINT)
    lines = (files / "run" / "config.toml").read_text().splitlines()
    config = CONFIG_VERSION if f"version = {CONFIG_VERSION}" in lines else 1
    assert (avatar["version"], config, checkpoint.get("checkpoint", 1)) == VERSIONS[name]
    assert json.loads((files / "me" / SIDECAR).read_text())["version"] == SIDECAR_VERSION


@pytest.mark.parametrize("name", VERSIONS)
def test_an_avatar_looks_as_it_did_to_the_version_that_wrote_it(name: str, tmp_path: Path):
    files = unpacked(name, tmp_path)
    run, subject = load_run(files / "run", CPU), load_subject(files / "me")
    training, _ = split_frames(subject, run.config.data.holdout, run.config.data.every)
    drawn = comparison_sheet(run.avatar, load_frames(subject, training, run.config.data.size), run.rasterizer())
    then = read_rgb(files / "run" / "preview" / "final.png")
    assert drawn.shape == then.shape
    # Pixels at an outline are of one side or the other, by a rounding.
    assert (np.abs(drawn.astype(int) - then.astype(int)) > 2).mean() < 1e-3


@pytest.mark.parametrize("name", VERSIONS)
def test_a_config_says_what_it_said(name: str, tmp_path: Path):
    files = unpacked(name, tmp_path)
    config = load_config(str(files / "run" / "config.toml"))
    assert config == load_run(files / "run", CPU).config
    assert (config.data.size, config.deformer.width, config.stage[0].steps, config.stage[0].trains) == (
        32, 8, 6, ("material", "light"),
    )  # fmt: skip
    assert config.light.kind == ("neural" if name in (FIRST, BEFORE) else "explicit")  # the first knew no other


@pytest.mark.parametrize("name", [BEFORE, LAST, RELEASE, BALD, NOW])
def test_a_checkpoint_is_gone_on_from(name: str, tmp_path: Path):
    files = unpacked(name, tmp_path)
    config = str(shutil.copy(files / "run" / "config.toml", tmp_path / "mine.toml"))
    asked = FitRequest(subject=files / "me", run=files / "cut", config=config, device="cpu")
    steps: list[str] = []
    assert fit(asked, lambda what, done, total: steps.append(f"{what.partition(':')[0]} {done}")).resumed
    assert [step for step in steps if step.startswith("fit")] == ["fit 4", "fit 5", "fit 6"]
    ended, _ = load_tensors(files / "cut" / AVATAR_FILE)
    whole, _ = load_tensors(files / "run" / AVATAR_FILE)
    for tensor, undisturbed in ((ended[name], whole[name]) for name in whole):
        # An Adam step is 5e-3. The head has another edition since: other teeth, and other light on them.
        off = (tensor.view_as(undisturbed) - undisturbed).abs() > 2.5e-3
        assert off.float().mean() < 0.01


def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(tmp_path: Path):
    files = unpacked(FIRST, tmp_path)
    with pytest.raises(AvatarError, match="does not say whose fit") as refused:
        fit(
            FitRequest(
                subject=files / "me", run=files / "cut", config=str(files / "run" / "config.toml"), device="cpu"
            ),
            quiet,
        )
    assert "--fresh" in refused.value.hint


def later_subject(files: Path) -> None:
    path = files / "me" / SIDECAR
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": SIDECAR_VERSION + 1, "colour": "new"}))
    load_subject(files / "me")


def later_avatar(files: Path) -> None:
    path = files / "run" / AVATAR_FILE
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {"version": AVATAR_VERSION + 1, "spec": "new"})
    load_run(files / "run", CPU)


def later_config(files: Path) -> None:
    path = files / "run" / "config.toml"
    path.write_text(f"version = {CONFIG_VERSION + 1}\n[new]\ncolour = 1\n")
    load_config(str(path))


def later_checkpoint(files: Path) -> None:
    path = files / "cut" / CHECKPOINT
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {"checkpoint": CHECKPOINT_VERSION + 1, "position": "new"})
    fit(
        FitRequest(subject=files / "me", run=files / "cut", config=str(files / "run" / "config.toml"), device="cpu"),
        quiet,
    )


LATER = {
    "subject": (later_subject, SIDECAR_VERSION, SubjectError),
    "avatar": (later_avatar, AVATAR_VERSION, AvatarError),
    "config": (later_config, CONFIG_VERSION, ConfigError),
    "checkpoint": (later_checkpoint, CHECKPOINT_VERSION, AvatarError),
}


@pytest.mark.parametrize("kind", LATER)
def test_what_a_later_version_wrote_is_told_as_that(kind: str, tmp_path: Path):
    read, newest, error = LATER[kind]
    with pytest.raises(FlareError, match=f"is of version {newest + 1}, this flare reads version") as refused:
        read(unpacked(NOW, tmp_path))
    assert isinstance(refused.value, error)
    assert "later flare" in refused.value.hint
    assert "pip install -U flare-cli" in refused.value.hint
