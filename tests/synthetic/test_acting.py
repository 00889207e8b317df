"""What benchmark people do: within reach, smooth, and with a held-out part of its own."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.synthetic.acting import act


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.floats(8, 60), st.integers(0, 1000))
def test_weights_are_within_0_and_1_and_turns_within_reach(training, held_out, fps, seed):
    done = act(training, held_out, fps=fps, seed=seed)
    assert done.arkit.shape == (training + held_out, 52)
    assert float(done.arkit.min()) >= 0
    assert float(done.arkit.max()) <= 1
    assert float(done.head.abs().max()) <= math.radians(40) + 1e-6
    assert done.held_out == training


def test_the_training_part_turns_to_both_sides():
    yaw = act(72, 12, fps=12, seed=0).head[:72, 1].rad2deg()
    assert float(yaw.max()) > 38
    assert float(yaw.min()) < -38


def test_the_held_out_part_has_expressions_and_turns_that_training_lacks():
    done = act(72, 12, fps=12, seed=0)
    training, held_out = done.arkit[:72], done.arkit[72:]
    for name in ("noseSneerLeft", "mouthLeft"):
        unit = ARKIT_NAMES.index(name)
        assert float(training[:, unit].max()) == 0
        assert float(held_out[:, unit].max()) > 0.4
    nod_and_tilt = done.head[:, [0, 2]].abs().amax(1).rad2deg()
    assert float(nod_and_tilt[72:].max()) > float(nod_and_tilt[:72].max()) + 4


def test_the_same_seed_acts_the_same():
    for one, other in zip(_tensors(5), _tensors(5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(_tensors(5)[0], _tensors(6)[0])


def _tensors(seed):
    done = act(20, 4, fps=12, seed=seed)
    return done.arkit, done.head, done.translation
