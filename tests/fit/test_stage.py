from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn import drawn_step

from flare_cli.config.schema import StageSettings
from flare_cli.fit.loss.losses import loss_terms
from flare_cli.fit.schedule import stage_schedule


def terms_and_gradient(frames, head, config, capacity: int | None):
    at = drawn_step(frames, head, config, capacity=capacity)
    terms = loss_terms(at, config.loss, None)
    torch.stack(list(terms.values())).sum().backward()
    return terms, [p.grad for p in at.avatar.parameters() if p.grad is not None], at.picture


def test_padding_changes_neither_losses_nor_gradients(toy_frames, open_head, tiny_config):
    loss = replace(tiny_config.loss, albedo_samples=1.0, albedo_even=0.1, light_level=0.1, white_light=0.1)
    config = replace(tiny_config, loss=loss, stage=(replace(tiny_config.stage[0], batch=2),))
    exact, gradient, picture = terms_and_gradient(toy_frames, open_head, config, None)
    padded, same_gradient, same_picture = terms_and_gradient(toy_frames, open_head, config, 2 * 48 * 48)
    assert len(same_picture.surface.pixels.index) > len(picture.surface.pixels.index) > 100
    assert same_picture.surface.pixels.n_covered == len(picture.surface.pixels.index)
    torch.testing.assert_close(same_picture.colour, picture.colour)
    torch.testing.assert_close(padded, exact)
    torch.testing.assert_close(same_gradient, gradient)


def test_pixels_beyond_the_capacity_are_dropped_and_counted(toy_frames, open_head, tiny_config):
    _, _, whole = terms_and_gradient(toy_frames, open_head, tiny_config, None)
    _, _, cut = terms_and_gradient(toy_frames, open_head, tiny_config, 50)
    assert cut.surface.pixels.n_covered == len(whole.surface.pixels.index)
    torch.testing.assert_close(cut.surface.pixels.index, whole.surface.pixels.index[:50])


def test_rates_and_ramps_follow_the_step(tiny_config):
    stage = replace(tiny_config.stage[0], steps=100, decay=0.1, batch=3)
    schedule = stage_schedule(
        stage,
        seed=1,
        index=0,
        steps_before=400,
        light_of_frame=torch.zeros(5, dtype=torch.long),
        prior_halved_at=450,
        device=torch.device("cpu"),
    )
    rows = [schedule.row(torch.tensor([step])) for step in range(100)]
    torch.testing.assert_close(rows[50].decay, torch.tensor(0.1**0.5))
    assert [float(rows[step].ramps.prior) for step in (49, 50)] == [1.0, 0.5]
    torch.testing.assert_close(rows[50].ramps.smoothness, torch.tensor(0.9))
    assert rows[99].ramps.perceptual == 1
    assert len({int(row.seed) for row in rows}) == 100
    assert torch.cat([row.chosen for row in rows]).bincount(minlength=5).min() > 30


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_frames_of_a_step_are_under_one_light_and_every_frame_has_its_share(lights: list[int], batch: int):
    numbered = torch.tensor(lights).unique(return_inverse=True)[1]
    stage = StageSettings(steps=4000, batch=batch)
    schedule = stage_schedule(
        stage, seed=0, index=0, steps_before=0, light_of_frame=numbered, prior_halved_at=0, device=torch.device("cpu")
    )
    assert (numbered[schedule.chosen] == schedule.lights[:, None]).all()
    share = torch.bincount(schedule.chosen.flatten(), minlength=len(lights)) / schedule.chosen.numel()
    assert (share * len(lights) - 1).abs().max() < 0.6  # each is drawn 100 times or more
