"""Solving for the track: one focal length, one shape, and every frame's pose, expression, jaw and eyes, all at once.

The neck joint carries the head's motion; the root stays near its mean over the sequence, because the neck's base
belongs to the torso. What is minimised is in `energy` and `prior_energy`, how in
`levenberg_marquardt`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joined_points, pose_vertices
from flare_cli.parallel.library_threads import one_thread_each
from flare_cli.render.camera import OPENCV_FROM_OPENGL, OPENGL_FROM_OPENCV, Cameras
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from flare_cli.track.solve.chart import face_chart, torso_chart
from flare_cli.track.solve.energy import CameraModel, Priors, Problem, TrackParameters, landmark_error
from flare_cli.track.solve.landmark_head import landmark_head, landmark_normals, landmark_weights
from flare_cli.track.solve.levenberg_marquardt import fitted_parameters
from flare_cli.track.solve.lids import with_lids_as_seen
from flare_cli.track.solve.surface_points import SurfacePoints, follow_surface

# Landmarks that slide less than this (metres) over the skin are firm enough for PnP. Chosen by eye.
FIRM_SPREAD = 0.0025
# Frames n to n + 2 follow each other if they take no more than this many frame times, 2 where none is missing: there is
# room for uneven time stamps and one missing frame.
MOST_FRAME_TIMES = 3.5
# Points of the skin are looked for again and again, each time from a better track: first in the key frames, then in
# all. For each time, the distance (in parts of the inter-ocular one) from which on a point counts as wrong: wide while
# the track is far off, twice as wide on the torso. Then steps of the solve of key frames and of all frames
# (docs/experiments.md, "Skin where it is, and the torso").
KEY_ROUNDS, FRAME_ROUNDS = (0.04, 0.04, 0.015), (0.04, 0.015)
KEY_STEPS, FRAME_STEPS = 6, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What was found, and each frame's median landmark distance over its inter-ocular distance."""

    parameters: TrackParameters
    camera: Cameras
    error: Float[Tensor, "N"]


def solve(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    times: Float[Tensor, "N"],
    *,
    fps: float,
    size: int,
    principal: tuple[float, float],
    shots: Int[Tensor, "N"] | None = None,
    priors: Priors | None = None,
    rounds: int = 25,
    key_frames: int = 24,
    pictures: Callable[[], Sequence[UInt8[np.ndarray, "S S"]]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Solution:
    """Find the track of `points`, MediaPipe's landmarks in pixels of a `size` x `size` picture.

    First rigid (PnP), then shape and focal length on spread key frames, then all frames; and with `pictures` (grey, of
    any size, asked for then) both again for points of the skin that are followed. Nothing ties frames of different
    `shots`, but that person and lens are the same.
    """
    if shots is None:
        shots = torch.zeros(len(points), dtype=torch.long, device=points.device)
    priors, used = priors or Priors(), head.landmarks.face >= 0
    steps = 2 * rounds + (0 if pictures is None else KEY_STEPS * (len(KEY_ROUNDS) + 2 * len(FRAME_ROUNDS)))
    with one_thread_each():
        problem, now = _rigid_start(head, points, times, fps, size, principal, shots, priors)
        keys = torch.linspace(0, len(points) - 1, min(len(points), key_frames), device=points.device)
        keys = keys.round().long().unique()
        by_key_frames = replace(problem, priors=replace(priors, points=priors.shared_points)).frames(keys)
        of_keys = fitted_parameters(
            by_key_frames, now.frames(keys), rounds, lambda done: progress(done, steps), share=True
        )
        now = _with_neighbours_of(keys, of_keys, problem, now)
        now = fitted_parameters(problem, now, rounds, lambda done: progress(rounds + done, steps), share=False)
        if pictures is not None:
            now = _by_surface(
                head, problem, now, keys, pictures(), lambda done: progress(2 * rounds + KEY_STEPS * done, steps)
            )
        now = with_lids_as_seen(problem, now, points, used)
    camera = problem.camera_model.camera(now.log_focal)
    return Solution(parameters=now, camera=camera, error=landmark_error(problem, now))


def _with_neighbours_of(
    keys: Int[Tensor, "K"], of_keys: TrackParameters, problem: Problem, start: TrackParameters
) -> TrackParameters:
    """`start` with shape and focal length of the key frames, and what expressions they have in the frames near them."""
    N, shots = len(start.root), problem.shots
    assert shots is not None
    other_shot = shots[:, None] != shots[keys]  # taken only where no key frame is of the same one
    nearest = ((torch.arange(N, device=keys.device)[:, None] - keys).abs() + N * other_shot).argmin(1)
    warm = {name: getattr(of_keys, name)[nearest] for name in ("expression", "jaw", "eyes", "root")}
    everything = replace(start, log_focal=of_keys.log_focal, shape=of_keys.shape, **warm)
    return _head_kept_in_place(problem.head, start, everything)


def _by_surface(
    head: HeadModel,
    problem: Problem,
    start: TrackParameters,
    keys: Int[Tensor, "K"],
    pictures: Sequence[UInt8[np.ndarray, "S S"]],
    progress: Callable[[int], None],
) -> TrackParameters:
    """`start` after points of skin and torso: first shape, focal length and the key frames, whose mean then shows what
    to look for in all frames. Landmarks alone where there is nothing on the skin."""
    charts = [chart for chart in (face_chart(head), torso_chart(head)) if chart is not None]
    key_problem, key_pictures, now = problem.frames(keys), [pictures[key] for key in keys.tolist()], start

    def solved_together(
        now: TrackParameters, points: list[SurfacePoints], outlier: float
    ) -> tuple[TrackParameters, Float[Tensor, "F 3"]]:
        """`now` with all that is shared, and the key frames, solved by their points; and the points' places."""
        both = _with_surface(key_problem, points, outlier, of_shared=True)
        of_keys = replace(now.frames(keys), places=now.shape.new_zeros(len(both.free), 3))
        of_keys = fitted_parameters(both, of_keys, KEY_STEPS, lambda done: None, share=True)
        places, of_keys = of_keys.places, replace(of_keys, places=now.places)
        shared = replace(now, log_focal=of_keys.log_focal, shape=of_keys.shape)
        return _head_kept_in_place(problem.head, now, shared).with_frames(keys, of_keys), places

    for k, outlier in enumerate(KEY_ROUNDS):
        points = [follow_surface(chart, key_problem, now.frames(keys), key_pictures) for chart in charts]
        if points[0].is_found.shape[1] == 0:
            return start
        now, _ = solved_together(now, points, outlier)
        progress(k + 1)
    for k, outlier in enumerate(FRAME_ROUNDS):
        points = [follow_surface(chart, problem, now, pictures, of_mean=keys) for chart in charts]
        progress(len(KEY_ROUNDS) + 2 * k + 1)
        now, places = solved_together(now, [some.frames(keys) for some in points], outlier)
        both = _with_surface(problem, points, outlier)
        both = replace(both, head=both.placed(places), free=both.free[:0], place=both.place[:0])
        now = fitted_parameters(both, now, FRAME_STEPS, lambda done: None, share=False)
        progress(len(KEY_ROUNDS) + 2 * k + 2)
    return now


def _with_surface(
    problem: Problem, points: Sequence[SurfacePoints], outlier: float, *, of_shared: bool = False
) -> Problem:
    """The landmarks' problem with points of the skin, and maybe of the torso, among the landmarks, which then count for
    less.

    Errors of followed points average out over the frames: for what all frames share (`of_shared`) they don't count for
    less, as landmarks do. From the distance `outlier` on those of the skin count as wrong.
    """
    p, L = problem.priors, len(problem.weights)
    # `data_energy` takes the mean over all points, with the landmarks' noise and number.
    each = (p.noise / p.skin_noise) ** 2 / p.points
    beliefs = ((p.skin_points, p.skin_place, outlier), (p.torso_points, p.torso_place, 2 * outlier))
    weights = [problem.weights * (p.beside_skin * (p.shared_points / p.points if of_shared else 1.0) / L)]
    outliers, places = [torch.full_like(problem.weights, p.outlier)], []
    for some, (worth, place, far) in zip(points, beliefs, strict=False):  # there may be no torso
        K = some.is_found.shape[1]
        weights.append(problem.weights.new_full((K,), each * worth / max(K, 1)))
        outliers.append(problem.weights.new_full((K,), far))
        places.append(problem.weights.new_full((K,), place))
    joined = torch.cat(weights)
    found = [some.is_found.to(problem.weights) for some in points]
    return replace(
        problem,
        head=reduce(joined_points, [some.head for some in points], problem.head),
        normals=torch.cat([problem.normals, *(some.normals for some in points)]),
        weights=len(joined) * joined,
        observed=torch.cat([problem.observed, *(some.observed for some in points)], 1),
        confidence=torch.cat([torch.ones_like(problem.observed[..., 0]), *found], 1),
        outlier=torch.cat(outliers),
        free=torch.arange(L, len(joined), device=joined.device),
        place=torch.cat(places),
    )


def _rigid_start(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    times: Float[Tensor, "N"],
    fps: float,
    size: int,
    principal: tuple[float, float],
    shots: Int[Tensor, "N"],
    priors: Priors,
) -> tuple[Problem, TrackParameters]:
    """Pose the mean head by PnP in every frame; a shot's mean rotation becomes the root's, the rest the neck's."""
    used = head.landmarks.face >= 0
    firm = (head.landmarks.spread[used] < FIRM_SPREAD).cpu().numpy()
    firm &= ~np.isin(torch.nonzero(used)[:, 0].cpu().numpy(), FACE_OVAL)
    model = landmark_head(head).template.cpu().double().numpy()[firm]
    observed = points[:, used].cpu().double().numpy()[:, firm]
    focal = priors.focal_mean * size
    lens = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    rotations, positions = [], []
    for frame in observed:
        _, turn, position = cv2.solvePnP(model, np.ascontiguousarray(frame), lens, None, flags=cv2.SOLVEPNP_SQPNP)
        rotations.append(OPENGL_FROM_OPENCV @ cv2.Rodrigues(turn)[0])
        positions.append(position[:, 0])
    turns, position = Rotation.from_matrix(np.stack(rotations)), np.stack(positions)
    depth = float(np.median(position[:, 2]))
    shot_of = shots.cpu().numpy()
    means = {shot: turns[shot_of == shot].mean() for shot in np.unique(shot_of).tolist()}
    base = Rotation.concatenate([means[shot] for shot in shot_of.tolist()])
    root, neck = (head.joints[j].cpu().double().numpy() for j in (Joint.ROOT, Joint.NECK))
    # Head points are R x + t; posed ones are root + base (neck - root) + R (x - neck) + translation.
    shift = (position - [0, 0, depth]) @ OPENCV_FROM_OPENGL - root - base.apply(neck - root) + turns.apply(neck)
    N = len(points)

    def like_points(values: float | Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
        return torch.as_tensor(values, dtype=points.dtype, device=points.device)

    start = TrackParameters(
        log_focal=like_points(math.log(focal)),
        shape=points.new_zeros(head.n_shape),
        expression=points.new_zeros(N, head.n_expression),
        root=like_points(base.as_rotvec()),
        neck=like_points((base.inv() * turns).as_rotvec()),
        jaw=points.new_zeros(N, 3),
        eyes=points.new_zeros(N, 2, 2),
        translation=like_points(shift),
    )
    gap = times[2:] - times[:-2]
    problem = Problem(
        head=landmark_head(head),
        normals=landmark_normals(head),
        weights=landmark_weights(head),
        observed=points[:, used],
        eye_distance=(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER]).norm(dim=-1),
        neighbours=(gap < MOST_FRAME_TIMES / fps) & (shots[2:] == shots[:-2]),
        camera_model=CameraModel(size=size, principal=principal, focal=focal, depth=depth),
        priors=priors,
        fps=fps,
        shots=shots,
    )
    return problem, start


def _head_kept_in_place(used_landmarks: HeadModel, start: TrackParameters, now: TrackParameters) -> TrackParameters:
    """`now` with each frame's translation such that the middle of its landmarks is where it is in `start`."""

    def middle(parameters: TrackParameters) -> Float[Tensor, "N 3"]:
        pose = torch.zeros_like(parameters.pose())
        pose[:, : Joint.JAW] = parameters.pose()[:, : Joint.JAW]
        still = torch.zeros_like(parameters.expression)
        posed = pose_vertices(
            used_landmarks, shape=parameters.shape, expression=still, pose=pose, translation=parameters.translation
        )
        return posed.mean(1)

    return replace(now, translation=now.translation + middle(start) - middle(now))
