"""The skin that is followed: a head with a pattern on it is drawn with a known motion, and found again."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_cli.head.joints import Joint
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_LIDS, LIPS, RIGHT_LIDS
from flare_cli.track.solve.chart import TEXELS, face_chart, torso_chart
from flare_cli.track.solve.energy import CameraModel, Priors, Problem, TrackParameters, projected_landmarks
from flare_cli.track.solve.solver import solve
from flare_cli.track.solve.surface_points import follow_surface

N, SIZE, FPS = 12, 192, 30.0
CAMERA = CameraModel(size=SIZE, principal=(96.0, 96.0), focal=400.0, depth=0.7)


class Film:
    """A head that turns and nods and smiles, grey values at random on its vertices."""

    def __init__(self, head, torso: float = 0.0):
        self.head, self.times = head, torch.arange(N) / FPS
        random = torch.Generator().manual_seed(1)
        wave = torch.sin(
            2 * math.pi * self.times[:, None] * torch.tensor([2.0, 2.5, 1.5]) + torch.tensor([0.0, 1.0, 2.0])
        )
        still = torch.zeros(N, 3)
        expression = torch.zeros(N, head.n_expression)
        expression[:, head.expression_names.index("mouthSmileLeft")] = torch.linspace(0, 0.6, N)
        self.true = TrackParameters(
            log_focal=torch.tensor(math.log(400.0)),
            shape=0.5 * torch.randn(head.n_shape, generator=random),
            expression=expression,
            root=torch.linspace(-torso, torso, N)[:, None] * torch.tensor([0.0, 1.0, 0.3]),
            neck=wave * torch.tensor([0.1, 0.35, 0.05]),
            jaw=still,
            eyes=torch.zeros(N, 2, 2),
            translation=0.005 * wave.roll(1, 1),
        )
        t = self.true
        self.vertices = pose_vertices(
            head, shape=t.shape, expression=t.expression, pose=t.pose(), translation=t.translation
        )
        self.camera: Cameras = CAMERA.camera(t.log_focal).expand(N)
        rasterizer = choose_rasterizer(device=torch.device("cpu"))
        seen = rasterizer.rasterize(self.camera.clip(self.vertices), head.faces, SIZE, SIZE)
        paint = torch.rand(len(head.template), generator=random)
        corners = paint[head.faces[seen.triangle.clamp(min=0).long()]]
        grey = torch.where(seen.triangle >= 0, (seen.barycentric * corners).sum(-1), 0.5)
        self.pictures = list((40 + 150 * grey).byte().numpy())

    def problem(self, points):
        """Of points of the head, a head's vertices."""
        L = len(points.template)
        return Problem(
            head=points,
            normals=torch.zeros(L, 3),
            weights=torch.ones(L),
            observed=torch.zeros(N, L, 2),
            eye_distance=torch.ones(N),
            neighbours=torch.ones(N - 2, dtype=torch.bool),
            camera_model=CAMERA,
            priors=Priors(),
            fps=FPS,
        )

    def places(self, points, track=None):
        """Where the points are in each frame's picture, by the true track or another."""
        return projected_landmarks(self.problem(points), track or self.true)


@pytest.fixture(scope="module")
def film(open_head):
    return Film(open_head)


@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_a_texel_is_the_outermost_point_of_its_angle_and_height(which, request):
    head = request.getfixturevalue(which)
    chart = face_chart(head)
    marks = landmark_points(head, head.template[None])[0]
    oval = marks[list(FACE_OVAL)]
    oval = oval[oval.isfinite().all(1)]
    height = (oval[:, 1].max() - chart.head.template[:, 1]) / (oval[:, 1].max() - oval[:, 1].min())
    row = torch.from_numpy(chart.index // TEXELS)
    assert (height * TEXELS - 0.5 - row).abs().max() < 0.1
    # Across a row angles about the chart's axis grow evenly, from left to right; seen from above that axis is
    # where the face is widest.
    axis = oval[oval[:, 0].abs().argsort()[-4:], 2].mean()
    angle = torch.atan2(chart.head.template[:, 0], chart.head.template[:, 2] - axis)
    column = torch.from_numpy(chart.index % TEXELS)
    widest = torch.atan2(oval[:, 0], oval[:, 2] - axis).abs().max()
    assert ((angle / widest + 1) / 2 * TEXELS - 0.5 - column).abs().max() < 0.5  # a chord is not an arc
    outward = chart.head.template - torch.stack([torch.zeros(()), torch.zeros(()), axis])
    assert ((outward * chart.normals)[:, [0, 2]].sum(1) > 0).float().mean() > 0.97  # but for nostrils


def test_eyes_and_mouth_are_left_out(open_head):
    chart = face_chart(open_head)
    marks = landmark_points(open_head, open_head.template[None])[0]
    for ring in (RIGHT_LIDS[:16], LEFT_LIDS[:16], LIPS):
        middle = marks[list(ring)].mean(0)
        assert (chart.head.template - middle).norm(dim=1).min() > 0.005


def test_points_are_found_where_they_are_from_a_track_that_is_off(film):
    off = replace(
        film.true,
        neck=film.true.neck + 0.02 * torch.randn(N, 3, generator=torch.Generator().manual_seed(2)),
        translation=film.true.translation + 0.001,
    )
    chart = face_chart(film.head)
    skin = follow_surface(chart, film.problem(film.head), off, film.pictures)
    true = film.places(skin.head)
    before = (film.places(skin.head, off) - true).norm(dim=-1)[skin.is_found]
    # The mean is of pictures that are off: what all share can't be seen, so the mean of each point's error goes.
    away = skin.observed - true
    count = skin.is_found.sum(0).clamp(min=1)[:, None]
    away = away - (away * skin.is_found[..., None]).sum(0) / count
    after = away.norm(dim=-1)[skin.is_found]
    assert skin.is_found.shape[1] > 50
    assert skin.is_found.float().mean() > 0.5
    assert before.median() > 1.0
    assert after.median() < 0.35


def test_points_are_found_where_a_true_track_has_them(film):
    skin = follow_surface(face_chart(film.head), film.problem(film.head), film.true, film.pictures)
    away = (skin.observed - film.places(skin.head))[skin.is_found]
    assert away.norm(dim=-1).median() < 0.05
    assert away.mean(0).abs().max() < 0.005


def test_the_skin_corrects_what_landmarks_get_wrong(film):
    exact = film.camera.project(landmark_points(film.head, film.vertices)).nan_to_num()
    random = torch.Generator().manual_seed(3)
    # A network's errors: of its own in every place, growing as the head turns, and noise.
    own = torch.randn(exact.shape[1:], generator=random)
    turn = film.true.neck[:, 1, None, None]
    points = exact + 0.7 * own + 3 * turn * own.roll(1, 0) + 0.4 * torch.randn(exact.shape, generator=random)
    given = {"fps": FPS, "size": SIZE, "principal": (96.0, 96.0), "rounds": 10, "key_frames": 6}
    alone = solve(film.head, points, film.times, **given)
    followed = solve(film.head, points, film.times, pictures=lambda: film.pictures, **given)
    chart = face_chart(film.head)

    def wandering(solution):
        """How far a place of the skin under the track wanders over the skin that is seen."""
        t = solution.parameters
        vertices = pose_vertices(
            chart.head, shape=t.shape, expression=t.expression, pose=t.pose(), translation=t.translation
        )
        aside = solution.camera.expand(N).project(vertices) - film.places(chart.head)
        return (aside - aside.mean(0)).square().sum(-1).mean().sqrt()

    assert wandering(followed) < 0.6 * wandering(alone)


def test_a_face_without_a_pattern_is_tracked_by_its_landmarks(film):
    exact = film.camera.project(landmark_points(film.head, film.vertices)).nan_to_num()
    given = {"fps": FPS, "size": SIZE, "principal": (96.0, 96.0), "rounds": 4, "key_frames": 6}
    blank = [np.full((SIZE, SIZE), 128, np.uint8)] * N
    alone = solve(film.head, exact, film.times, **given)
    followed = solve(film.head, exact, film.times, pictures=lambda: blank, **given)
    torch.testing.assert_close(followed.parameters.neck, alone.parameters.neck, rtol=0, atol=0)


def test_a_head_without_landmarks_at_the_mouth_has_skin_there(open_head):
    face = open_head.landmarks.face.clone()
    face[list(LIPS)] = -1
    without = face_chart(replace(open_head, landmarks=replace(open_head.landmarks, face=face)))
    whole = set(face_chart(open_head).index.tolist())
    assert whole < set(without.index.tolist())


@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_the_torsos_chart_shows_what_hangs_on_the_root_from_the_front(which, request):
    head = request.getfixturevalue(which)
    chart = torso_chart(head)
    torso = head.template[head.faces[(head.weights[:, Joint.ROOT] > 0.5)[head.faces].all(1)].unique()]
    scale = TEXELS / 2 / torso[:, 0].abs().max()
    column, row = torch.from_numpy(chart.index % TEXELS), torch.from_numpy(chart.index // TEXELS)
    assert (chart.head.template[:, 0] * scale + TEXELS / 2 - 0.5 - column).abs().max() < 0.1
    assert ((torso[:, 1].max() - chart.head.template[:, 1]) * scale - 0.5 - row).abs().max() < 0.1
    assert chart.head.weights[:, Joint.ROOT].min() > 0.5


def test_a_head_of_which_nothing_hangs_on_the_root_has_no_torso(open_head):
    weights = open_head.weights.clone()
    weights[:, Joint.NECK] += weights[:, Joint.ROOT]
    weights[:, Joint.ROOT] = 0
    assert torso_chart(replace(open_head, weights=weights)) is None


def test_a_torso_that_turns_is_followed(open_head):
    film = Film(open_head, torso=0.08)
    points = film.camera.project(landmark_points(film.head, film.vertices)).nan_to_num()
    given = {"fps": FPS, "size": SIZE, "principal": (96.0, 96.0), "rounds": 10, "key_frames": 8}
    alone = solve(film.head, points, film.times, **given)
    followed = solve(film.head, points, film.times, pictures=lambda: film.pictures, **given)

    def wrong(solution):
        """Of the torso's turn, but for its mean, which the shape of the torso can stand for."""
        off = solution.parameters.root - film.true.root
        return (off - off.mean(0)).square().sum(-1).mean().sqrt()

    assert wrong(followed) < 0.4 * wrong(alone)
