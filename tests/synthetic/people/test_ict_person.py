"""How an ICT person moves, on a few points: the head itself is not part of the package."""

import math

import numpy as np
import pytest
import torch

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import Joint
from flare_cli.head.library import load_head
from flare_cli.synthetic.people.face_space import open_head_space
from flare_cli.synthetic.people.ict_head import IctHead
from flare_cli.synthetic.people.ict_person import BLINKS, CORNEA, LANDMARKS, IctActor, expression_gains, flatter_ball
from flare_cli.synthetic.performance import NECK_SHARE, Performance

PLACES = torch.tensor([[0.0, -0.2, 0.0], [0.0, 0.1, 0.0], [0.03, 0.0, 0.1], [0.0, -0.1, 0.1]])
SHOULDER, SKULL, PUPIL, CHIN = range(4)


@pytest.fixture(scope="module")
def actor():
    head = load_head("open-head")
    weights = torch.zeros(4, len(head.joints))
    weights[SHOULDER, Joint.ROOT] = weights[SKULL, Joint.NECK] = weights[CHIN, Joint.NECK] = 1
    weights[PUPIL, Joint.EYE_LEFT] = 1
    expression = torch.zeros(52, 4, 3)
    expression[ARKIT_NAMES.index("jawOpen"), CHIN, 1] = -0.03
    return IctActor(
        joints=head,
        faces=torch.tensor([[0, 1, 2]]),
        neutral=PLACES,
        expression=expression,
        weights=weights,
        centres=head.joints,
        space=open_head_space(head),
    )


def performance(*, turn=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0), **weights):
    arkit = torch.zeros(1, 52)
    for name, weight in weights.items():
        arkit[0, ARKIT_NAMES.index(name)] = weight
    return Performance(arkit=arkit, head=torch.tensor([turn]), translation=torch.tensor([shift]), held_out=1)


def test_at_rest_nothing_moves_and_a_shift_moves_all(actor):
    torch.testing.assert_close(actor.control(performance(), 0), PLACES)
    shifted = actor.control(performance(shift=(0.1, 0.2, 0.3)), 0)
    torch.testing.assert_close(shifted, PLACES + torch.tensor([0.1, 0.2, 0.3]))
    assert actor.parameters(performance()) is None


def test_the_jaw_is_a_shape_and_no_joint(actor):
    posed = actor.control(performance(jawOpen=0.5), 0)
    torch.testing.assert_close(posed[CHIN], PLACES[CHIN] + torch.tensor([0.0, -0.015, 0.0]))
    torch.testing.assert_close(posed[SKULL], PLACES[SKULL])


def test_the_neck_takes_its_share_of_a_turn_and_shoulders_the_rest(actor):
    yaw = 0.5
    posed = actor.control(performance(turn=(0.0, yaw, 0.0)), 0)
    angle = float(torch.atan2(posed[CHIN, 0] - posed[SKULL, 0], posed[CHIN, 2] - posed[SKULL, 2]))
    assert angle == pytest.approx(yaw, abs=1e-5)
    root = (1 - NECK_SHARE) * yaw
    pivot = actor.joints.joints[Joint.ROOT]
    x, y, z = (PLACES[SHOULDER] - pivot).tolist()
    turned = torch.tensor([math.cos(root) * x + math.sin(root) * z, y, math.cos(root) * z - math.sin(root) * x])
    torch.testing.assert_close(posed[SHOULDER], pivot + turned)


def test_eyes_turn_about_their_middle_towards_the_side_that_is_looked_at(actor):
    posed = actor.control(performance(eyeLookOutLeft=1.0), 0)
    centre = actor.centres[Joint.EYE_LEFT]
    np.testing.assert_allclose((posed[PUPIL] - centre).norm(), (PLACES[PUPIL] - centre).norm(), rtol=1e-5)
    assert float(posed[PUPIL, 0]) > float(PLACES[PUPIL, 0]) + 0.003  # the left eye looks to the subject's left


def test_a_blink_closes_eyes_that_stand_wider_open_than_the_templates():
    template = np.zeros((max(LANDMARKS) + 1, 3))
    expression = np.zeros((3, len(template), 3), np.float32)
    names = ("eyeBlink_L", "eyeBlink_R", "jawOpen")
    for name, upper, lower in BLINKS:
        for k in (upper, lower):
            template[[LANDMARKS[i] for i in k], 1] = 0.010 if k is upper else 0.0
        expression[names.index(name), [LANDMARKS[i] for i in upper], 1] = -0.009  # lids of 1 mm then meet
    ict = IctHead(
        template=template, quads=np.zeros((1, 4), int), identity=expression[:1], expression=expression, names=names
    )
    wide = template * 1.2
    gains = expression_gains(ict, template, wide)
    np.testing.assert_allclose(gains, [11 / 9, 11 / 9, 1], rtol=1e-6)
    upper = [LANDMARKS[k] for k in BLINKS[0][1]]
    closed = wide + gains[1] * expression[1]
    np.testing.assert_allclose(closed[upper, 1], 0.001, atol=1e-7)
    np.testing.assert_array_equal(expression_gains(ict, template, 0.8 * template), 1)  # narrow eyes close earlier


def test_a_cornea_is_pressed_into_the_ball_and_the_rest_stays():
    random = np.random.default_rng(0)
    directions = random.standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(directions[:, 2]))
    radius = np.where(angle < 25, 0.0166, 0.015)
    centre = np.array([0.03, 0.0, 0.08])
    flat = np.linalg.norm(flatter_ball(centre + radius[:, None] * directions, centre) - centre, axis=1)
    np.testing.assert_allclose(flat[angle < 25], 0.015 * CORNEA, rtol=1e-9)
    np.testing.assert_allclose(flat[angle >= 25], 0.015, rtol=1e-9)
