"""Solving for the track: one focal length, one shape, and every frame's pose, expression, jaw and eyes, all at once.

The neck joint carries the head's motion; the root stays near its mean over the sequence, because the neck's base
belongs to the torso. What is minimised is in `energy` and `prior_energy`, how in
`levenberg_marquardt`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.parallel.library_threads import one_thread_each
from flare_cli.render.camera import OPENCV_FROM_OPENGL, OPENGL_FROM_OPENCV, Cameras
from flare_cli.track.face.landmarks import FACE_OVAL, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from flare_cli.track.solve.energy import CameraModel, Priors, Problem, TrackParameters, landmark_error
from flare_cli.track.solve.landmark_head import landmark_head, landmark_normals, landmark_weights
from flare_cli.track.solve.levenberg_marquardt import fitted_parameters
from flare_cli.track.solve.lids import with_closed_lids

# Landmarks that slide less than this (metres) over the skin are firm enough for PnP. Chosen by eye.
FIRM_SPREAD = 0.0025
# Frames n to n + 2 follow each other if they take no more than this many frame times, 2 where none is missing: there is
# room for uneven time stamps and one missing frame.
MOST_FRAME_TIMES = 3.5


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Solution:
    """Find the track of `points`, MediaPipe's landmarks in pixels of a `size` x `size` picture.

    First rigid (PnP), then shape and focal length on spread key frames, then all frames. Nothing ties frames of
    different `shots`, but that person and lens are the same.
    """
    if shots is None:
        shots = torch.zeros(len(points), dtype=torch.long, device=points.device)
    with one_thread_each():
        return _solved(
            head, points, times, fps, size, principal, shots, priors or Priors(), rounds, key_frames, progress
        )


def _solved(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    times: Float[Tensor, "N"],
    fps: float,
    size: int,
    principal: tuple[float, float],
    shots: Int[Tensor, "N"],
    priors: Priors,
    rounds: int,
    key_frames: int,
    progress: Callable[[int, int], None],
) -> Solution:
    used_landmarks = landmark_head(head)
    used = head.landmarks.face >= 0
    camera_model, start = _rigid_start(head, points, size, principal, shots, priors)
    gap = times[2:] - times[:-2]
    problem = Problem(
        head=used_landmarks,
        normals=landmark_normals(head),
        weights=landmark_weights(head),
        observed=points[:, used],
        eye_distance=(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER]).norm(dim=-1),
        neighbours=(gap < MOST_FRAME_TIMES / fps) & (shots[2:] == shots[:-2]),
        camera_model=camera_model,
        priors=priors,
        fps=fps,
        shots=shots,
    )
    N = len(points)
    keys = torch.linspace(0, N - 1, min(N, key_frames), device=points.device).round().long().unique()
    of_shared = replace(problem, priors=replace(problem.priors, points=problem.priors.shared_points)).frames(keys)
    of_keys = fitted_parameters(
        of_shared, start.frames(keys), rounds, lambda done: progress(done, 2 * rounds), share=True
    )
    everything = replace(start, log_focal=of_keys.log_focal, shape=of_keys.shape)
    other_shot = shots[:, None] != shots[keys]  # taken only where no key frame is of the same one
    nearest = ((torch.arange(N, device=points.device)[:, None] - keys).abs() + N * other_shot).argmin(1)
    warm = {name: getattr(of_keys, name)[nearest] for name in ("expression", "jaw", "eyes", "root")}
    everything = _head_kept_in_place(used_landmarks, start, replace(everything, **warm))
    fitted = fitted_parameters(
        problem, everything, rounds, lambda done: progress(rounds + done, 2 * rounds), share=False
    )
    fitted = with_closed_lids(problem, fitted, points, used)
    camera = camera_model.camera(fitted.log_focal)
    return Solution(parameters=fitted, camera=camera, error=landmark_error(problem, fitted))


def _rigid_start(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    size: int,
    principal: tuple[float, float],
    shots: Int[Tensor, "N"],
    priors: Priors,
) -> tuple[CameraModel, TrackParameters]:
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
    return CameraModel(size=size, principal=principal, focal=focal, depth=depth), start


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
