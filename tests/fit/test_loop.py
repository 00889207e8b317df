import re
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from support.fitted import StoppedError, fitted

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config, LightSettings
from flare_cli.errors import AvatarError, FileError, FitError
from flare_cli.fit.checkpoint import CHECKPOINT
from flare_cli.fit.frames import Frames
from flare_cli.fit.optimiser import Adam
from flare_cli.fit.watchdog import SLOWER


def run(
    frames: Frames, head, config: Config, folder: Path, *, stop_after: int | None = None
) -> tuple[Avatar, list[float]]:
    losses: list[float] = []
    avatar = fitted(frames, head, config, folder, losses=losses, stop_after=stop_after).avatar
    return avatar, losses


def two_stages(config: Config) -> Config:
    first = replace(config.stage[0], steps=4, encoding="frequency", subdivide_at=2)
    second = replace(config.stage[0], steps=4, trains=("mesh", "material", "light"))
    return replace(config, stage=(first, second))


def test_interrupted_fit_ends_in_the_same_avatar(toy_frames, open_head, tiny_config, tmp_path: Path):
    config = two_stages(tiny_config)
    whole, _ = run(toy_frames, open_head, config, tmp_path / "whole")
    for stop_after in (1, 2, 4):
        cut = tmp_path / str(stop_after)
        with pytest.raises(StoppedError):
            run(toy_frames, open_head, config, cut, stop_after=stop_after)
        resumed, losses = run(toy_frames, open_head, config, cut)
        assert len(losses) == 8 - stop_after
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (stop_after, name)


def test_a_fit_with_explicit_light_resumes_exactly(toy_frames, open_head, tiny_config, tmp_path: Path):
    """Visibility is traced at steps 0 and 2 and at the end: what lies between is in the checkpoint."""
    light = LightSettings(
        kind="explicit", directions=32, visibility=True, visibility_poses=2, visibility_rays=32, visibility_every=2
    )
    config = replace(tiny_config, light=light, stage=(replace(tiny_config.stage[0], steps=4, subdivide_at=2),))
    whole, _ = run(toy_frames, open_head, config, tmp_path / "whole")
    assert whole.visibility.coefficients[0, :, 1:].any()
    for stop_after in (1, 3):
        cut = tmp_path / str(stop_after)
        with pytest.raises(StoppedError):
            run(toy_frames, open_head, config, cut, stop_after=stop_after)
        resumed, _ = run(toy_frames, open_head, config, cut)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (stop_after, name)


def test_a_fit_that_refines_its_track_resumes_exactly(toy_frames, open_head, tiny_config, tmp_path: Path):
    track = replace(tiny_config.track, refine=True, smoothness=1e-4, focal_length=0.02)
    config = replace(two_stages(tiny_config), track=track)
    whole = fitted(toy_frames, open_head, config, tmp_path / "whole")
    for stop_after in (1, 4):
        cut = tmp_path / str(stop_after)
        with pytest.raises(StoppedError):
            run(toy_frames, open_head, config, cut, stop_after=stop_after)
        resumed = fitted(toy_frames, open_head, config, cut)
        for name in ("pose", "expression", "translation"):
            assert torch.equal(getattr(resumed.track, name), getattr(whole.track, name))
            assert not torch.equal(getattr(whole.track, name), getattr(toy_frames.track, name))
        assert torch.equal(resumed.track.camera.intrinsics, whole.track.camera.intrinsics)
        for name, tensor in whole.avatar.state_dict().items():
            assert torch.equal(resumed.avatar.state_dict()[name], tensor), (stop_after, name)


def test_a_track_that_may_not_move_gives_the_same_avatar(toy_frames, open_head, tiny_config, tmp_path: Path):
    still, _ = run(toy_frames, open_head, tiny_config, tmp_path / "given")
    config = replace(tiny_config, track=replace(tiny_config.track, refine=True, rate=0.0))
    held = fitted(toy_frames, open_head, config, tmp_path / "held")
    assert torch.equal(held.track.pose, toy_frames.track.pose)
    for name, tensor in still.state_dict().items():
        torch.testing.assert_close(held.avatar.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_stage_trains_only_what_it_names(toy_frames, open_head, tiny_config, tmp_path: Path):
    config = replace(tiny_config, stage=(replace(tiny_config.stage[0], trains=("material",)),))
    avatar, _ = run(toy_frames, open_head, config, tmp_path)
    assert avatar.mesh.offsets.abs().max() == 0
    assert avatar.deformer.layers[-1].weight.abs().max() == 0


def test_fit_lowers_the_loss(toy_frames, open_head, tiny_config, tmp_path: Path):
    config = replace(tiny_config, stage=(replace(tiny_config.stage[0], steps=40, batch=2),))
    _, losses = run(toy_frames, open_head, config, tmp_path)
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_loss_that_is_not_finite_stops_the_fit_and_is_named(toy_frames, open_head, tiny_config, tmp_path: Path):
    toy_frames.track.translation[:] = float("nan")
    with pytest.raises(FitError, match=r"stage 'fit', step 0: the \w+ loss is nan"):
        run(toy_frames, open_head, tiny_config, tmp_path)


def break_gradients(monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """Put what is not a number into a gradient of the optimiser's calls `first` to `last`, from 0 on."""
    step, calls = Adam.step, count()

    def broken(self: Adam, decay: torch.Tensor) -> None:
        if first <= next(calls) <= last:
            self.groups[0].parameters[0].grad[0] = float("nan")
        step(self, decay)

    monkeypatch.setattr(Adam, "step", broken)


def test_a_gradient_that_is_not_a_number_makes_the_steps_smaller(
    toy_frames, open_head, tiny_config, tmp_path: Path, monkeypatch
):
    """All steps are done again, from the first on: as if the rates had been half as large from the beginning."""
    stage = tiny_config.stage[0]
    rates = {
        name: SLOWER * getattr(stage, name) for name in ("mesh_rate", "deformer_rate", "material_rate", "light_rate")
    }
    careful, _ = run(
        toy_frames, open_head, replace(tiny_config, stage=(replace(stage, **rates),)), tmp_path / "careful"
    )
    break_gradients(monkeypatch, 3, 3)
    ended = fitted(toy_frames, open_head, tiny_config, tmp_path / "broken")
    assert len(ended.notes) == 1
    assert re.search(r"stage 'fit', step 4: the \w+ loss is nan; went on from step 0", ended.notes[0])
    for name, tensor in careful.state_dict().items():
        assert torch.equal(ended.avatar.state_dict()[name], tensor), name


def test_a_fit_that_breaks_again_and_again_is_an_error(toy_frames, open_head, tiny_config, tmp_path: Path, monkeypatch):
    break_gradients(monkeypatch, 2, 10**6)
    with pytest.raises(FitError, match=r"stage 'fit', step \d: the \w+ loss is nan"):
        run(toy_frames, open_head, tiny_config, tmp_path)


def test_checkpoint_of_other_settings_is_refused(toy_frames, open_head, tiny_config, tmp_path: Path):
    with pytest.raises(StoppedError):
        run(toy_frames, open_head, tiny_config, tmp_path, stop_after=4)
    assert (tmp_path / CHECKPOINT).is_file()
    other = replace(tiny_config, loss=replace(tiny_config.loss, mask=1.0))
    with pytest.raises(AvatarError, match="other settings"):
        run(toy_frames, open_head, other, tmp_path)


def test_a_checkpoint_that_could_not_be_written_is_told(
    toy_frames, open_head, tiny_config, tmp_path: Path, monkeypatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flare_cli.fit.checkpoint.save_tensors", full)
    with pytest.raises(FileError, match="no space left"):
        run(toy_frames, open_head, tiny_config, tmp_path)
