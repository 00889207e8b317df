"""A fit that breaks: what is said, and that it goes on from its last good state as if nothing had been."""

import pytest
import torch

from flare_cli.errors import FitError
from flare_cli.fit.optimiser import Adam
from flare_cli.fit.watchdog import COLLAPSED, FIRST_JUDGED, KEEP_EVERY, SLOWER, LastGood, LossWatch

BROKEN = FitError("broken", hint="mend it")


def one_weight(rate: float = 0.1) -> tuple[torch.nn.Linear, Adam]:
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(module.weight)
    return module, Adam([(module, rate)], torch.device("cpu"))


def moved(module: torch.nn.Linear, adam: Adam, gradient: float) -> float:
    module.weight.grad = torch.full_like(module.weight, gradient)
    adam.step(torch.ones(()))
    return module.weight.item()


def test_the_last_good_state_is_put_back_with_smaller_steps():
    module, adam = one_weight()
    last_good = LastGood({"part": module}, adam)
    last_good.keep(0)
    assert moved(module, adam, 1.0) == pytest.approx(0.9)
    moved(module, adam, float("nan"))
    last_good.keep(KEEP_EVERY)  # is not kept: it isn't finite
    assert last_good.put_back(BROKEN) == 0
    assert module.weight.item() == 1.0
    assert moved(module, adam, 1.0) == pytest.approx(1 - SLOWER * 0.1)  # the first step of Adam is its rate
    assert last_good.put_back(BROKEN) == 0
    assert moved(module, adam, 1.0) == pytest.approx(1 - SLOWER**2 * 0.1)


def test_a_new_copy_is_made_only_now_and_then():
    module, adam = one_weight()
    last_good = LastGood({"part": module}, adam)
    last_good.keep(5)
    moved(module, adam, 1.0)
    last_good.keep(5 + KEEP_EVERY - 1)
    assert last_good.put_back(BROKEN) == 5
    last_good.keep(5 + KEEP_EVERY)
    assert last_good.put_back(BROKEN) == 5 + KEEP_EVERY


def test_what_was_never_good_is_an_error():
    module, adam = one_weight()
    with pytest.raises(FitError, match="broken"):
        LastGood({"part": module}, adam).put_back(BROKEN)


def test_the_first_loss_that_is_not_finite_is_named():
    watch = LossWatch("fit")
    watch.check(3, {"colour": 1.0, "mask": 2.0})
    with pytest.raises(FitError, match="stage 'fit', step 4: the mask loss is inf"):
        watch.check(4, {"colour": 1.0, "mask": float("inf")})


@pytest.mark.parametrize("times", [0.9, 1.1])
def test_losses_that_collapse_are_told_from_noise(times: float):
    watch = LossWatch("fit")
    for step in range(FIRST_JUDGED):
        watch.check(step, {"colour": 1.0 + 0.3 * (-1) ** step, "mask": 1.0})
    usual = sum(watch._usual.values())
    broken = {"colour": 0.5, "mask": times * COLLAPSED * usual - 0.5}
    if times < 1:
        watch.check(FIRST_JUDGED, broken)
        return
    with pytest.raises(FitError, match=rf"step {FIRST_JUDGED}: the losses are \d+ times what they were, mask most"):
        watch.check(FIRST_JUDGED, broken)
