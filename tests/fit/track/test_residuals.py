from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import TrackSettings
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.fit.track.residuals import REACH, TrackResiduals, bounded
from flare_cli.fit.track.training import TrainingTrack

FREE = TrackSettings(refine=True, focal_length=0.02)
TABLES = ("pose", "expression", "translation", "focal_length")


def moved(residuals: TrackResiduals, seed: int = 0) -> TrackResiduals:
    """The residuals at random values of about a deviation."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in TABLES:
            table = getattr(residuals, name)
            table.copy_(torch.randn(table.shape, generator=random))
    return residuals


@pytest.fixture
def avatar(toy_frames, open_head, tiny_config) -> Avatar:
    torch.manual_seed(0)
    return Avatar(open_head, toy_frames.track.shape, stage_spec(tiny_config, tiny_config.stage[0]))


def test_without_residuals_the_track_is_the_given_one_bit_for_bit(avatar, toy_frames):
    random, given = torch.Generator().manual_seed(0), toy_frames.track
    given = replace(given, pose=0.1 * torch.randn(given.pose.shape, generator=random))
    refined = TrackResiduals(given, FREE).refined()
    for name in ("pose", "expression", "translation"):
        assert torch.equal(getattr(refined, name), getattr(given, name))
    assert torch.equal(refined.camera.intrinsics, given.camera.intrinsics)
    chosen = torch.tensor([4, 0, 4])
    fixed, free = (TrainingTrack(avatar, given, residuals) for residuals in (None, TrackResiduals(given, FREE)))
    for a, b in zip(fixed.at(chosen), free.at(chosen), strict=True):
        parts = ("factors", "transforms", "translation") if hasattr(a, "factors") else ("clip_from_world", "centres")
        for part in parts:
            torch.testing.assert_close(getattr(a, part), getattr(b, part), rtol=0, atol=1e-6)


def test_residuals_are_bounded_and_begin_as_their_table():
    table = torch.tensor([-1e3, -1e-3, 0.0, 1e-3, 1e3])
    torch.testing.assert_close(bounded(table, 0.5), torch.tensor([-0.5 * REACH, -5e-4, 0, 5e-4, 0.5 * REACH]))


@pytest.mark.parametrize("name", TABLES)
def test_gradients_of_drawn_places_match_finite_differences(avatar, toy_frames, name: str):
    residuals = moved(TrackResiduals(toy_frames.track, FREE))
    track, chosen = TrainingTrack(avatar, toy_frames.track, residuals), torch.tensor([1, 3])
    vertices = slice(None, None, 50)
    weights = torch.randn(2, len(avatar.head.template[vertices]), 2, generator=torch.Generator().manual_seed(1))

    def place() -> torch.Tensor:
        motion, projections = track.at(chosen)
        clip = projections.clip(avatar.move(motion, avatar.corrections()).vertices)[:, vertices]
        return (weights * clip[..., :2] / clip[..., 3:]).double().sum()

    place().backward()
    table = getattr(residuals, name)
    entry = int(table.grad.abs().argmax())
    assert table.grad.flatten()[entry] != 0

    def shifted(by: float) -> float:
        with torch.no_grad():
            table.flatten()[entry] += by
            value = float(place())
            table.flatten()[entry] -= by
        return value

    difference = (shifted(0.05) - shifted(-0.05)) / 0.1
    assert float(table.grad.flatten()[entry]) == pytest.approx(difference, rel=0.02)
    if name != "focal_length":
        others = torch.ones(len(table), dtype=torch.bool)
        others[chosen] = False
        assert not table.grad[others].any()


def test_a_step_takes_nothing_from_the_host_and_gives_nothing_to_it(avatar, toy_frames):
    """What a captured step must not do: make a tensor of Python numbers, or read one."""
    residuals = TrackResiduals(toy_frames.track, replace(FREE, smoothness=1.0))
    track, chosen = TrainingTrack(avatar, toy_frames.track, residuals), torch.tensor([1, 3])
    with Operations() as done:
        motion, projections = track.at(chosen)
        terms = torch.stack(list(residuals.loss_terms().values())).sum()
        (motion.transforms.sum() + motion.factors.sum() + projections.clip_from_world.sum() + terms).backward()
    assert "aten.tanh.default" in done.names
    assert not {"aten.lift_fresh.default", "aten._local_scalar_dense.default"} & done.names


class Operations(TorchDispatchMode):
    """Notes which operations torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_priors_hold_size_and_bends(toy_frames):
    """A straight line in time costs its size alone; a tooth costs its second differences, 1, 2 and 1 squared."""
    settings = replace(FREE, prior=1.0, smoothness=1.0)
    residuals = TrackResiduals(toy_frames.track, settings)
    with torch.no_grad():
        residuals.expression[:, 5] = torch.arange(6.0)
    terms = residuals.loss_terms()
    assert terms["track_prior"].item() == pytest.approx(sum(i * i for i in range(6)) / 6)
    assert terms["track_smoothness"].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        residuals.expression[:, 5] = 0
        residuals.expression[2, 5] = 1
    assert residuals.loss_terms()["track_smoothness"].item() == pytest.approx(6 / 6)


def test_frames_that_do_not_follow_each_other_are_not_tied(toy_frames):
    frames = torch.tensor([1, 2, 3, 60, 61, 62])
    residuals = TrackResiduals(replace(toy_frames.track, frames=frames), replace(FREE, smoothness=1.0))
    with torch.no_grad():
        residuals.translation[3:] = 1
    assert residuals.loss_terms()["track_smoothness"].item() == 0
