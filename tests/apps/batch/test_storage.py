"""Batches in object storage (fsspec's file and memory): machines that share no folder go on where others stopped."""

import shutil
from pathlib import Path

import pytest
import torch
from support.tiny_batches import avatar_in, batch_request

from flare_cli.apps.batch import stages
from flare_cli.apps.batch.batch import batch
from flare_cli.apps.batch.board import unseen
from flare_cli.errors import BackendError, FlareError
from flare_cli.fit.checkpoint import CHECKPOINT
from flare_cli.fit.run_folder import AVATAR_FILE


def run(*inputs: object, out: Path, **more) -> dict[str, str]:
    """States of the stages of subject a."""
    result = batch(batch_request(*inputs, out=out, **more), unseen, unseen)
    return {outcome.stage: outcome.state for outcome in result.outcomes["a"]}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_another_machine_goes_on_where_the_first_one_was_stopped(people: Path, tmp_path: Path, monkeypatch):
    out, storage = tmp_path / "out", (tmp_path / "bucket").as_uri()
    assert run(people / "a", out=tmp_path / "whole", stages=("fit",)) == {"fit": "done"}
    fit = stages.fit

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("fit") and done == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(stages, "fit", lambda request, _: fit(request, stop))
        with pytest.raises(KeyboardInterrupt):
            run(people / "a", out=out, stages=("fit",), storage=storage)
    assert (tmp_path / "bucket/a/run" / CHECKPOINT).is_file()
    shutil.rmtree(out)  # the second machine has a folder of the same path, and nothing in it
    resumed: list[bool] = []
    with monkeypatch.context() as seen:
        seen.setattr(stages, "fit", lambda *request: resumed.append(fit(*request).resumed))
        assert run(people / "a", out=out, stages=("fit",), storage=storage) == {"fit": "done"}
    assert resumed == [True]
    assert avatar_in(tmp_path / "bucket/a/run") == avatar_in(tmp_path / "whole/a/run")
    assert not (tmp_path / "bucket/a/run" / CHECKPOINT).exists()

    shutil.rmtree(out)
    assert run(people / "a", out=out, stages=("fit", "export"), storage=storage) == {"fit": "kept", "export": "done"}
    assert avatar_in(out / "a/run") == avatar_in(tmp_path / "whole/a/run")
    assert (tmp_path / "bucket/a/export/a.glb").read_bytes() == (out / "a/export/a.glb").read_bytes()
    assert not [path for path in (tmp_path / "bucket").rglob("*") if path.name in (".lock", ".holder")]


def test_what_another_machine_made_anew_replaces_what_is_here(people: Path, tmp_path: Path):
    here, there, storage = tmp_path / "here", tmp_path / "there", "memory://people"
    shorter = {"stages": ("fit",), "storage": storage, "overrides": (*batch_request(out=here).defaults.overrides,)}
    run(people / "a", out=here, **shorter)
    first = avatar_in(here / "a/run")
    longer = shorter | {"overrides": (*shorter["overrides"], "stage.steps=24")}
    assert run(people / "a", out=there, **longer) == {"fit": "failed"}  # made with other settings
    assert run(people / "a", out=there, **longer, overwrite=True) == {"fit": "done"}
    assert run(people / "a", out=here, **longer) == {"fit": "kept"}
    assert avatar_in(here / "a/run") == avatar_in(there / "a/run") != first
    assert (here / "a/run" / AVATAR_FILE).is_file()


def test_what_is_no_storage_is_refused_before_anything_is_written(people: Path, tmp_path: Path):
    with pytest.raises(FlareError, match="is a URL, not a folder") as refused:
        run(people / "a", out=Path("s3://bucket/people"))
    assert "--storage s3://" in refused.value.hint
    with pytest.raises(BackendError, match="is no storage that can be used here"):
        run(people / "a", out=tmp_path / "out", storage="nosuch://bucket")
    assert not (tmp_path / "out").exists()


def test_a_storage_that_fails_is_one_sentence(people: Path, tmp_path: Path):
    (tmp_path / "bucket").write_text("a file where the folder should be")
    result = batch(
        batch_request(people / "a", out=tmp_path / "out", storage=(tmp_path / "bucket").as_uri()), unseen, unseen
    )
    assert result.failed == 1
    assert "bucket/a: " in result.outcomes["a"][0].message
    assert not (tmp_path / "out/a/error.txt").exists()
