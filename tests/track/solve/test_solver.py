"""Solving for the track, on landmarks made from known parameters."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.render.camera import Cameras
from flare_cli.track.face.landmarks import FACE_OVAL
from flare_cli.track.solve.energy import Priors
from flare_cli.track.solve.landmark_head import landmark_head, landmark_weights
from flare_cli.track.solve.solver import Solution, solve

N, SIZE, FPS = 24, 512, 30.0
PRINCIPAL = (240.0, 270.0)


class Known:
    """A short performance: turning and nodding, talking, blinking, looking around, with a shape of its own."""

    def __init__(self, head: HeadModel, noise: float, outliers: float) -> None:
        rng = np.random.default_rng(5)
        time = torch.arange(N) / FPS

        def wave(rate, phase=0.0):
            return torch.sin(2 * math.pi * rate * time + phase)

        self.times = time
        self.shape = torch.from_numpy(rng.normal(0, 0.6, head.n_shape)).float()
        self.expression = torch.zeros(N, head.n_expression)
        unit = head.expression_names.index
        self.expression[:, unit("mouthSmileLeft")] = 0.3 + 0.3 * wave(0.7)
        self.expression[:, unit("mouthSmileRight")] = 0.3 + 0.3 * wave(0.7)
        self.expression[:, unit("browInnerUp")] = 0.25 + 0.25 * wave(0.5, 1)
        self.pose = torch.zeros(N, 5, 3)
        self.pose[:, 0, 0] = 0.05
        self.pose[:, 1] = torch.stack([0.12 * wave(0.8), 0.35 * wave(0.4), 0.08 * wave(0.6, 2)], 1)
        self.pose[:, 2, 0] = 0.12 * (1 + wave(1.5))
        self.pose[:, 3:, 1] = 0.15 * wave(0.5)[:, None]
        self.translation = 0.01 * torch.stack([wave(0.3), wave(0.4, 1), wave(0.2, 2)], 1)
        self.camera = Cameras(
            intrinsics=torch.tensor([[1000.0, 1000.0, *PRINCIPAL]]),
            camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.8]]]),
            height=SIZE,
            width=SIZE,
        )
        self.exact = self.camera.expand(N).project(landmark_points(head, self.vertices(head)))
        jitter = torch.from_numpy(rng.normal(0, noise, self.exact.shape)).float()
        wild = torch.from_numpy(rng.random(self.exact.shape[:2]) < outliers)[..., None]
        far = torch.from_numpy(rng.uniform(-40, 40, self.exact.shape)).float()
        self.points = self.exact.nan_to_num() + jitter + wild * far

    def vertices(self, head: HeadModel) -> torch.Tensor:
        given = {"shape": self.shape, "expression": self.expression, "pose": self.pose}
        return pose_vertices(head, **given, translation=self.translation)


def solved(head: HeadModel, known: Known) -> Solution:
    # The noise differs from frame to frame: what all frames share has as much evidence as each frame's own.
    priors = Priors(shared_points=Priors().points)
    return solve(head, known.points, known.times, fps=FPS, size=SIZE, principal=PRINCIPAL, priors=priors, key_frames=8)


@pytest.fixture(scope="module")
def known(open_head_module: HeadModel) -> Known:
    return Known(open_head_module, noise=0.5, outliers=0.03)


@pytest.fixture(scope="module")
def open_head_module() -> HeadModel:
    from flare_cli.head.open_head import load_open_head

    return load_open_head()


@pytest.fixture(scope="module")
def solution(open_head_module: HeadModel, known: Known) -> Solution:
    torch.manual_seed(0)
    return solved(open_head_module, known)


def head_rotation(pose: torch.Tensor) -> Rotation:
    return Rotation.from_rotvec(pose[:, 0].numpy()) * Rotation.from_rotvec(pose[:, 1].numpy())


def test_reprojection_reaches_the_true_points_through_noise_and_outliers(open_head_module, known, solution):
    fitted = solution.parameters
    given = {"shape": fitted.shape, "expression": fitted.expression, "pose": fitted.pose()}
    vertices = pose_vertices(open_head_module, **given, translation=fitted.translation)
    projected = solution.camera.expand(N).project(landmark_points(open_head_module, vertices))
    assert (projected - known.exact).norm(dim=-1).nanmedian() < 0.3


def test_head_rotation_is_found_within_two_degrees(known, solution):
    away = head_rotation(known.pose).inv() * head_rotation(solution.parameters.pose())
    # A shape that is not the mean one trades a constant turn against its own asymmetry and slant.
    constant = away.mean()
    assert np.degrees(constant.magnitude()) < 2.0
    assert np.degrees((constant.inv() * away).magnitude().max()) < 0.5


def test_the_neck_carries_the_motion_and_the_root_rests(solution):
    pose = solution.parameters.pose()
    spread = torch.rad2deg(pose.std(0).norm(dim=-1))
    assert spread[0] < 0.05 * spread[1]


def test_the_jaw_follows(known, solution):
    away = torch.rad2deg((solution.parameters.jaw[:, 0] - known.pose[:, 2, 0]).abs())
    assert away.median() < 2.0


def test_the_gaze_follows(known, solution):
    gaze, truth = solution.parameters.eyes[:, :, 1].mean(1), known.pose[:, 3, 1]
    assert torch.corrcoef(torch.stack([gaze, truth]))[0, 1] > 0.9


def test_smiles_are_found_by_name(open_head_module, known, solution):
    unit = open_head_module.expression_names.index("mouthSmileLeft")
    fitted, truth = solution.parameters.expression[:, unit], known.expression[:, unit]
    assert torch.corrcoef(torch.stack([fitted, truth]))[0, 1] > 0.9


def test_error_is_the_median_distance_over_the_eye_distance(known, solution):
    # Noise of 0.5 pixels a coordinate has a median distance of 0.5 sqrt(2 ln 2).
    eyes = (known.exact[:, 33] - known.exact[:, 263]).norm(dim=-1)
    expected = 0.5 * math.sqrt(2 * math.log(2)) / eyes
    torch.testing.assert_close(solution.error.median(), expected.median(), rtol=0.3, atol=0)


def test_a_frame_of_nonsense_is_told_by_its_error(open_head_module, known):
    known_points = known.points.clone()
    known_points[7] += 60 * torch.randn(known_points.shape[1:], generator=torch.Generator().manual_seed(1))
    error = solve(
        open_head_module, known_points, known.times, fps=FPS, size=SIZE, principal=PRINCIPAL, key_frames=8
    ).error
    assert error[7] > 0.08
    assert error[torch.arange(N) != 7].max() < 0.08


def test_a_landmark_head_moves_as_the_landmarks_of_the_head_do(open_head_module, known):
    used = open_head_module.landmarks.face >= 0
    exact = landmark_points(open_head_module, known.vertices(open_head_module))[:, used]
    given = {"shape": known.shape, "expression": known.expression, "pose": known.pose}
    blended = pose_vertices(landmark_head(open_head_module), **given, translation=known.translation)
    assert (blended - exact).norm(dim=-1).max() < 5e-4


def test_points_that_slide_count_less(open_head_module):
    used = torch.nonzero(open_head_module.landmarks.face >= 0)[:, 0].tolist()
    weight = dict(zip(used, landmark_weights(open_head_module).tolist(), strict=True))
    nose_tip = 4
    assert max(weight[n] for n in FACE_OVAL if n in weight) < 0.5 * weight[nose_tip]


def test_one_frame_is_enough(open_head_module, known):
    solution = solve(
        open_head_module, known.points[:1], known.times[:1], fps=FPS, size=SIZE, principal=PRINCIPAL, rounds=10
    )
    assert solution.error.item() < 0.03


def test_a_stronger_shape_prior_stays_closer_to_the_mean(open_head_module, known):
    shapes = [
        solve(
            open_head_module,
            known.points[:3],
            known.times[:3],
            fps=FPS,
            size=SIZE,
            principal=PRINCIPAL,
            priors=Priors(shape=sigma),
            rounds=10,
        ).parameters.shape.norm()
        for sigma in (0.1, 1.0)
    ]
    assert shapes[0] < 0.5 * shapes[1]


def test_nothing_ties_frames_of_different_shots(open_head_module, known):
    """The second half was filmed from elsewhere: the head stands 90 pixels away on it, turned by 20 degrees."""
    half = N // 2
    lens = known.camera.intrinsics[0]
    turn = torch.from_numpy(Rotation.from_euler("y", 20, degrees=True).as_matrix()).float()
    vertices = known.vertices(open_head_module)
    vertices[half:] = vertices[half:] @ turn.mT + torch.tensor([90 * 0.8 / lens[0], 0, 0])
    points = known.camera.expand(N).project(landmark_points(open_head_module, vertices)).nan_to_num()

    def solved_with(shots: torch.Tensor | None) -> Solution:
        return solve(
            open_head_module, points, known.times, fps=FPS, size=SIZE, principal=PRINCIPAL, shots=shots, key_frames=8
        )

    apart, tied = solved_with((torch.arange(N) >= half).long()), solved_with(None)
    near = slice(half - 2, half + 2)
    assert apart.error[near].max() < 0.6 * tied.error[near].max()
    roots = apart.parameters.root
    within = torch.stack([part.std(0).norm() for part in (roots[:half], roots[half:])])
    assert within.max() < 0.1 * (roots[:half].mean(0) - roots[half:].mean(0)).norm()
