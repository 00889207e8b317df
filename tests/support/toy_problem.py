"""Small problems of the solver in float64: a few landmarks of a head, random states, and derivatives written out."""

from collections.abc import Callable
from dataclasses import replace

import torch

from flare_cli.head.model import HeadModel
from flare_cli.track.solve.energy import PER_FRAME, SHARED, CameraModel, Priors, Problem, TrackParameters
from flare_cli.track.solve.landmark_head import landmark_head
from flare_cli.track.solve.levenberg_marquardt import NormalSystem

N = 3


def in_double(head: HeadModel) -> HeadModel:
    names = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights", "joints", "joint_shape_dirs")
    return replace(head, **{name: getattr(head, name).double() for name in (*names, "joint_expression_dirs")})


def problem_of(head: HeadModel, n: int = N) -> Problem:
    marks = in_double(landmark_head(head))
    few = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights")
    marks = replace(marks, **{name: getattr(marks, name)[::40] for name in few})
    # Directions that heads may lack: whatever is not 0 here is tested.
    random = torch.Generator().manual_seed(1)

    def noise(like):
        return 0.01 * torch.randn(like.shape, generator=random, dtype=torch.float64)

    extra = {n: getattr(marks, n) + noise(getattr(marks, n)) for n in ("pose_dirs", "joint_expression_dirs")}
    L = len(marks.template)
    return Problem(
        head=replace(marks, **extra),
        normals=torch.zeros(L, 3),
        weights=torch.ones(L, dtype=torch.float64),
        observed=torch.zeros(n, L, 2),
        eye_distance=torch.ones(n),
        neighbours=torch.ones(n - 2, dtype=torch.bool),
        camera_model=CameraModel(size=512, principal=(250.0, 260.0), focal=900.0, depth=0.8),
        priors=Priors(),
        fps=30.0,
    )


def state_of(head: HeadModel, scale: float, n: int = N) -> TrackParameters:
    random = torch.Generator().manual_seed(2)

    def draw(*shape):
        return scale * torch.randn(*shape, generator=random, dtype=torch.float64)

    return TrackParameters(
        log_focal=torch.tensor(6.9, dtype=torch.float64),
        shape=draw(head.n_shape),
        expression=draw(n, head.n_expression),
        root=draw(n, 3),
        neck=draw(n, 3),
        jaw=draw(n, 3),
        eyes=draw(n, 2, 2),
        translation=0.1 * draw(n, 3),
    )


def with_places(problem: Problem, now: TrackParameters) -> tuple[Problem, TrackParameters]:
    """The same with some landmarks whose places are solved for too, each sure in its own way."""
    free = torch.tensor([1, 3, 8])
    place = torch.tensor([0.001, 0.002, 0.01], dtype=torch.float64)
    places = 0.003 * torch.randn(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return replace(problem, free=free, place=place), replace(now, places=places)


def exact_curvature(energy: Callable[[TrackParameters], torch.Tensor], now: TrackParameters) -> torch.Tensor:
    """All second derivatives by automatic differentiation, of frame after frame and then of what they share."""
    n, together = len(now.root), (*SHARED, "places")
    frames = torch.cat([getattr(now, name).reshape(n, -1) for name in PER_FRAME], 1)
    shared = torch.cat([getattr(now, name).reshape(-1) for name in together])

    def of_row(row: torch.Tensor) -> torch.Tensor:
        parts = row[: frames.numel()].view_as(frames).split([getattr(now, x)[0].numel() for x in PER_FRAME], 1)
        moved = dict(zip(PER_FRAME, parts, strict=True))
        rest = row[frames.numel() :].split([getattr(now, x).numel() for x in together])
        moved |= dict(zip(together, rest, strict=True))
        return energy(replace(now, **{name: value.reshape(getattr(now, name).shape) for name, value in moved.items()}))

    return torch.func.hessian(of_row)(torch.cat([frames.flatten(), shared]))


def dense(system: NormalSystem) -> torch.Tensor:
    """The normal matrix of all frames and what they share, with every 0 written out."""
    n, D = system.prior_diagonal.shape
    whole = torch.block_diag(*system.blocks, system.shared)
    for frame in range(n):
        for reach, band in enumerate((system.prior_diagonal, system.next_one, system.next_two)):
            if frame + reach < n:
                here, there = slice(frame * D, (frame + 1) * D), slice((frame + reach) * D, (frame + reach + 1) * D)
                whole[here, there] += band[frame].diag()
                if reach:
                    whole[there, here] += band[frame].diag()
    whole[: n * D, n * D :] = system.cross.flatten(0, 1)
    whole[n * D :, : n * D] = system.cross.flatten(0, 1).T
    return whole


def with_the_mean_held(curvature: torch.Tensor, problem: Problem, now: TrackParameters) -> torch.Tensor:
    """Without what the root's mean over the frames adds: -1 / (N sigma)^2 between every two frames."""
    n, D = len(now.root), sum(getattr(now, name)[0].numel() for name in PER_FRAME)
    first = now.expression.shape[1]  # the root comes after the expression
    for number in range(first, first + 3):
        rows = torch.arange(n) * D + number
        curvature[rows[:, None], rows] += 1 / (n * problem.priors.root) ** 2
    return curvature
