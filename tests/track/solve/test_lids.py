"""Lids that close and open when the eye does."""

from dataclasses import replace

import pytest
import torch

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.track.solve.energy import CameraModel, Priors, Problem, TrackParameters
from flare_cli.track.solve.landmark_head import landmark_head, landmark_normals, landmark_weights
from flare_cli.track.solve.lids import EYES, SHUT, lid_gap, with_lids_as_seen

N = 12
BLINKS = torch.tensor([0, 0, 0, 0.2, 0.5, 0.78, 0.78, 0.5, 0.2, 0, 0, 0])
BLINK = ("eyeBlinkLeft", "eyeBlinkRight")


def truth_of(head: HeadModel) -> TrackParameters:
    """Somebody who turns the head to the side and blinks meanwhile."""
    expression = torch.zeros(N, head.n_expression)
    expression[:, [head.expression_names.index(name) for name in BLINK]] = BLINKS[:, None]
    neck = torch.zeros(N, 3)
    neck[:, 1] = torch.linspace(-0.3, 0.3, N)
    zero = torch.zeros(N, 3)
    return TrackParameters(
        log_focal=torch.tensor(900.0).log(), shape=torch.zeros(head.n_shape), expression=expression, root=zero,
        neck=neck, jaw=zero, eyes=torch.zeros(N, 2, 2), translation=zero,
    )  # fmt: skip


@pytest.fixture
def problem(open_head: HeadModel) -> Problem:
    marks = landmark_head(open_head)
    return Problem(
        head=marks,
        normals=landmark_normals(open_head),
        weights=landmark_weights(open_head),
        observed=torch.zeros(N, len(marks.template), 2),
        eye_distance=torch.ones(N),
        neighbours=torch.ones(N - 2, dtype=torch.bool),
        camera_model=CameraModel(size=512, principal=(256.0, 256.0), focal=900.0, depth=0.8),
        priors=Priors(),
        fps=30.0,
    )


def seen_of(head: HeadModel, problem: Problem, truth: TrackParameters) -> torch.Tensor:
    """Its landmarks as a detector reports them that never sees an eye quite shut: the lower lids are moved down."""
    vertices = pose_vertices(
        head, shape=truth.shape, expression=truth.expression, pose=truth.pose(), translation=truth.translation
    )
    camera = problem.camera_model.camera(truth.log_focal).expand(N)
    points = camera.project(landmark_points(head, vertices)).nan_to_num()
    for _, corners, upper, lower in EYES:
        gap = lid_gap(points, corners, upper, lower)
        width = (points[:, corners[1]] - points[:, corners[0]]).norm(dim=-1)
        floor = SHUT + (1 - SHUT / gap.max()) * gap
        points[:, list(lower), 1] += ((floor - gap) * width)[:, None]
    return points


def test_blinks_that_the_solve_left_half_open_are_closed(open_head: HeadModel, problem: Problem):
    truth = truth_of(open_head)
    points = seen_of(open_head, problem, truth)
    solved = replace(truth, expression=0.5 * truth.expression)
    closed = with_lids_as_seen(problem, solved, points, open_head.landmarks.face >= 0)
    for name in BLINK:
        found = closed.expression[:, open_head.expression_names.index(name)]
        torch.testing.assert_close(found[BLINKS >= 0.5], BLINKS[BLINKS >= 0.5], atol=0.06, rtol=0)
        torch.testing.assert_close(found[BLINKS == 0], BLINKS[BLINKS == 0])
    others = [i for i, name in enumerate(open_head.expression_names) if name not in BLINK]
    torch.testing.assert_close(closed.expression[:, others], solved.expression[:, others])


def test_eyes_that_are_torn_open_are_drawn_so(open_head: HeadModel, problem: Problem):
    truth = truth_of(open_head)
    columns = [open_head.expression_names.index(name) for name in ("eyeWideLeft", "eyeWideRight")]
    amount = torch.tensor([0.0] * 8 + [0.8, 1, 1, 0.8])
    wide = replace(truth, expression=torch.zeros_like(truth.expression).index_copy(
        1, torch.tensor(columns), amount[:, None].expand(N, 2)
    ))  # fmt: skip
    points = seen_of(open_head, problem, wide)
    solved = replace(wide, expression=0.2 * wide.expression)
    opened = with_lids_as_seen(problem, solved, points, open_head.landmarks.face >= 0)
    for column in columns:
        torch.testing.assert_close(
            opened.expression[amount > 0.7, column], amount[amount > 0.7], atol=0.22, rtol=0
        )  # of 0.8
        assert (opened.expression[:, column] <= amount + 0.06).all()
    others = [i for i in range(open_head.n_expression) if i not in columns]
    torch.testing.assert_close(opened.expression[:, others], solved.expression[:, others])


def test_eyes_that_stay_open_are_left_alone(open_head: HeadModel, problem: Problem):
    truth = truth_of(open_head)
    awake = replace(truth, expression=torch.zeros_like(truth.expression))
    points = seen_of(open_head, problem, awake)
    same = with_lids_as_seen(problem, awake, points, open_head.landmarks.face >= 0)
    torch.testing.assert_close(same.expression, awake.expression)


def test_a_head_without_named_units_is_left_as_it_is(open_head: HeadModel, problem: Problem):
    unnamed = replace(problem.head, expression_names=tuple(f"c{i}" for i in range(open_head.n_expression)))
    truth = truth_of(open_head)
    points = seen_of(open_head, problem, truth)
    assert with_lids_as_seen(replace(problem, head=unnamed), truth, points, open_head.landmarks.face >= 0) is truth


def test_the_gap_is_square_to_the_eye_and_in_its_widths():
    points = torch.zeros(1, 478, 2)
    points[0, 33], points[0, 133] = torch.tensor([0.0, 0.0]), torch.tensor([30.0, 40.0])  # turned by 53 degrees
    points[0, [160, 159, 158]] = torch.tensor([15.0, 20.0])
    points[0, [144, 145, 153]] = torch.tensor([15.0 - 8.0, 20.0 + 6.0])  # 10 away, square to the corners
    torch.testing.assert_close(lid_gap(points, *EYES[0][1:]), torch.tensor([0.2]))
