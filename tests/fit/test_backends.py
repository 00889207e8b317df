"""A stage runs with every rasterizer and encoding that is here, captured or not, and comes to the same losses."""

from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.storage import load_avatar, save_avatar
from flare_cli.errors import BackendError
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.stage import StageRunner

STEPS = {"cpu": 6, "cuda": 24}  # three eager, then a capture and its replays, with one more look at the losses


def losses(frames, head, config, device, rasterizer, hash_grid):
    """The loss terms of every step of a short stage."""
    steps = STEPS[device]
    run = replace(config.run, rasterizer=rasterizer, hash_grid=hash_grid)
    config = replace(config, run=run, stage=(replace(config.stage[0], steps=steps, batch=2, encoding="hash"),))
    torch.manual_seed(0)
    try:
        avatar = Avatar(head.to(device), frames.track.shape, stage_spec(config, config.stage[0]))
    except BackendError as missing:
        pytest.skip(missing.message)
    runner = StageRunner(avatar, 0, frames, config, None)
    found, step = [], 0
    while step < steps:
        stop = runner.next_stop(step)
        found += runner.advance(step, stop)
        step = stop
    return found, runner


def agree(found, expected, *, same_start=True):
    """Losses fall, and to where Warp's fall; from where Warp's start, if the networks start alike."""
    totals = [sum(terms[-1].values()) for terms in (found, expected)]
    assert totals[0] < sum(found[0].values())
    if same_start:
        for name, value in expected[0].items():
            assert found[0][name] == pytest.approx(value, rel=0.03, abs=1e-3)
    assert totals[0] == pytest.approx(totals[1], rel=0.1 if same_start else 0.5)


@pytest.mark.parametrize(("rasterizer", "hash_grid"), [("warp", "torch"), ("pytorch3d", "warp")])
def test_a_stage_on_the_cpu_comes_to_the_same_losses(toy_frames, open_head, tiny_config, rasterizer, hash_grid):
    arguments = toy_frames, open_head, tiny_config, "cpu"
    try:
        found, _ = losses(*arguments, rasterizer, hash_grid)
    except BackendError as missing:
        pytest.skip(missing.message)
    expected, _ = losses(*arguments, "warp", "warp")
    agree(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("rasterizer", ["warp", "nvdiffrast", "pytorch3d"])
@pytest.mark.parametrize("hash_grid", ["warp", "tinycudann", "torch"])
def test_a_stage_on_the_gpu_runs_captured_where_it_can(toy_frames, open_head, tiny_config, rasterizer, hash_grid):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    arguments = toy_frames, open_head, tiny_config, "cuda"
    try:
        found, runner = losses(*arguments, rasterizer, hash_grid)
    except BackendError as missing:
        pytest.skip(missing.message)
    assert runner.replay.is_captured == (rasterizer == "warp" and hash_grid != "tinycudann")
    expected, _ = losses(*arguments, "warp", "warp")
    # A table of another size leaves other random numbers for the networks.
    agree(found, expected, same_start=hash_grid != "tinycudann")


def test_a_stored_avatar_opens_with_the_other_grid_of_the_same_table(toy_frames, open_head, tiny_config, tmp_path):
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    avatars = {}
    for hash_grid in ("warp", "torch"):
        config = replace(tiny_config, run=replace(tiny_config.run, hash_grid=hash_grid))
        avatars[hash_grid] = Avatar(open_head, toy_frames.track.shape, stage_spec(config, config.stage[0]))
    save_avatar(tmp_path / "avatar.safetensors", avatars["torch"], {})
    stored, _ = load_avatar(tmp_path / "avatar.safetensors", device=torch.device("cpu"))
    avatars["warp"].load_state_dict(stored.state_dict())
    assert (stored.material(points).albedo == avatars["torch"].material(points).albedo).all()
    torch.testing.assert_close(avatars["warp"].material(points).albedo, avatars["torch"].material(points).albedo)
