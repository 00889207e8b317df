"""Solving for the track: one focal length, one shape, and every frame's pose, expression, jaw and eyes, all at once.

The sum that is minimised is a negative log-posterior: landmark distances over their noise (robust), plus how far each
unknown strays from what heads do, plus second differences in time. The neck joint carries the head's motion; the root
stays near its mean over the sequence, because the neck's base belongs to the torso.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.render.camera import Cameras
from flare_cli.track.landmarks import LEFT_EYE_OUTER, LEFT_IRIS, RIGHT_EYE_OUTER, RIGHT_IRIS
from flare_cli.track.normal_equations import step_with_neighbours, step_with_shared

ROOT, NECK, JAW, EYE_LEFT, EYE_RIGHT = range(5)
OPENCV_FROM_WORLD = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
# Face Mesh puts these on the outline of the face as seen, so they slide over the skin when the head turns.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
# A face turns fastest at about this frame rate's sampling of the smoothness constants below.
REFERENCE_FPS = 30.0
CHUNK = 512
# Frames whose derivatives are held at the same time.
JACOBIAN_CHUNK = 64
# A round that gains less than this part of the sum is the last.
ENOUGH = 1e-4
MAX_DAMPINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """How sure we are, as standard deviations. Rotations in radians, translation in metres, expressions in 0..1 units.

    `noise` and `outlier` are landmark distances in parts of the inter-ocular distance; `points` is how many independent
    measurements the 476 correlated landmarks of a frame are worth. Smoothness is of second differences at 30 fps.
    """

    focal: float = 0.3
    focal_mean: float = 1.9
    shape: float = 1.0
    noise: float = 0.01
    outlier: float = 0.04
    points: float = 100.0
    expression: float = 0.35
    expression_bound: float = 0.03
    root: float = 0.05
    neck: float = 0.5
    jaw_side: float = 0.03
    jaw_closed: float = 0.02
    eyes: float = 0.3
    eyes_apart: float = 0.05
    smooth_rotation: float = 0.012
    smooth_root: float = 0.002
    smooth_translation: float = 0.0015
    smooth_expression: float = 0.10
    smooth_lids: float = 0.6
    smooth_jaw: float = 0.04
    smooth_eyes: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknowns:
    """Everything that is solved for. `eyes` holds pitch and yaw of the left and the right eye."""

    log_focal: Float[Tensor, ""]
    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "N E"]
    root: Float[Tensor, "N 3"]
    neck: Float[Tensor, "N 3"]
    jaw: Float[Tensor, "N 3"]
    eyes: Float[Tensor, "N 2 2"]
    translation: Float[Tensor, "N 3"]

    def pose(self) -> Float[Tensor, "N 5 3"]:
        """The joints' axis-angles in the head model's order."""
        eyes = torch.cat([self.eyes, torch.zeros_like(self.eyes[..., :1])], -1)
        return torch.cat([torch.stack([self.root, self.neck, self.jaw], 1), eyes], 1)

    def frames(self, index: Tensor | slice) -> Unknowns:
        """The same, of some frames."""
        return replace(self, **{name: getattr(self, name)[index] for name in PER_FRAME})


PER_FRAME = ("expression", "root", "neck", "jaw", "eyes", "translation")
SHARED = ("log_focal", "shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The one camera: its picture size, principal point, and the depth of the world origin at focal length `focal`.

    Depth grows with the focal length that is solved for, so that the head keeps its size in the picture.
    """

    size: int
    principal: tuple[float, float]
    focal: float
    depth: float

    def camera(self, log_focal: Float[Tensor, ""]) -> Cameras:
        """The camera at some focal length."""
        # One-element vectors: torch promotes numbers without a dimension to float64 under vmap.
        focal = log_focal.reshape(1).exp()
        principal = log_focal.new_tensor(self.principal)
        column = torch.cat([torch.zeros_like(principal), focal * (self.depth / self.focal)])
        rotation = OPENCV_FROM_WORLD.to(log_focal)
        return Cameras(
            intrinsics=torch.cat([focal, focal, principal])[None],
            camera_from_world=torch.cat([rotation, column[:, None]], 1)[None],
            height=self.size,
            width=self.size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What was found, and each frame's median landmark distance over its inter-ocular distance."""

    unknowns: Unknowns
    camera: Cameras
    error: Float[Tensor, "N"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    head: HeadModel
    normals: Float[Tensor, "L 3"]
    weights: Float[Tensor, "L"]
    observed: Float[Tensor, "N L 2"]
    eye_distance: Float[Tensor, "N"]
    neighbours: Bool[Tensor, "N-2"]
    view: View
    priors: Priors
    fps: float

    def frames(self, index: Tensor) -> _Problem:
        return replace(
            self,
            observed=self.observed[index],
            eye_distance=self.eye_distance[index],
            neighbours=torch.zeros(max(0, len(index) - 2), dtype=torch.bool, device=index.device),
        )


def solve(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    times: Float[Tensor, "N"],
    *,
    fps: float,
    size: int,
    principal: tuple[float, float],
    priors: Priors | None = None,
    rounds: int = 25,
    key_frames: int = 24,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Solution:
    """Find the track of `points`, MediaPipe's landmarks in pixels of a `size` x `size` picture.

    First rigid (PnP), then shape and focal length on spread key frames, then all frames.
    """
    with _one_thread():
        return _solved(head, points, times, fps, size, principal, priors or Priors(), rounds, key_frames, progress)


@contextmanager
def _one_thread() -> Generator[None]:
    """Many small operations: threads bring little, and on a busy machine wait for each other (14 x slower)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _solved(
    head: HeadModel,
    points: Float[Tensor, "N 478 2"],
    times: Float[Tensor, "N"],
    fps: float,
    size: int,
    principal: tuple[float, float],
    priors: Priors,
    rounds: int,
    key_frames: int,
    progress: Callable[[int, int], None],
) -> Solution:
    marks = landmark_head(head)
    used = head.landmarks.face >= 0
    view, start = _rigid_start(head, points, size, principal, priors)
    gap = times[2:] - times[:-2]
    problem = _Problem(
        head=marks,
        normals=_landmark_normals(head),
        weights=landmark_weights(head),
        observed=points[:, used],
        eye_distance=(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER]).norm(dim=-1),
        neighbours=gap < 3.5 / fps,
        view=view,
        priors=priors,
        fps=fps,
    )
    N = len(points)
    keys = torch.linspace(0, N - 1, min(N, key_frames), device=points.device).round().long().unique()
    found = _descended(
        problem.frames(keys), start.frames(keys), rounds, lambda done: progress(done, 2 * rounds), share=True
    )
    everything = replace(start, log_focal=found.log_focal, shape=found.shape)
    nearest = (torch.arange(N, device=points.device)[:, None] - keys).abs().argmin(1)
    warm = {name: getattr(found, name)[nearest] for name in ("expression", "jaw", "eyes", "root")}
    everything = _head_kept_in_place(marks, start, replace(everything, **warm))
    found = _descended(problem, everything, rounds, lambda done: progress(rounds + done, 2 * rounds), share=False)
    camera = view.camera(found.log_focal)
    return Solution(unknowns=found, camera=camera, error=landmark_error(problem, found))


def landmark_head(head: HeadModel) -> HeadModel:
    """A head whose vertices are the landmarks themselves: everything per vertex is blended by their weights.

    Skinning is linear in the rest position and in the skin weights, not in their product, so a landmark is off by the
    change of weights over one face: at most a few tenths of a millimetre on the open head, near the jaw.
    """
    face, barycentric = head.landmarks.face, head.landmarks.barycentric
    corners, blend = head.faces[face[face >= 0]], barycentric[face >= 0]
    mixed = lambda values: torch.einsum("lk,lk...->l...", blend, values[corners])  # noqa: E731
    names = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights")
    return replace(head, **{name: mixed(getattr(head, name)) for name in names})


def landmark_weights(head: HeadModel) -> Float[Tensor, "L"]:
    """How much each used landmark counts (mean 1): less where it slides over the skin."""
    used = head.landmarks.face >= 0
    weight = 1 / (1 + (head.landmarks.spread / 0.002).square())
    oval = torch.tensor(FACE_OVAL, device=weight.device)
    weight = weight.index_fill(0, oval, 0.0) + torch.zeros_like(weight).index_fill(0, oval, 0.15)
    # Only the irises say where the eyes look: ten points against five hundred.
    irises = torch.tensor([RIGHT_IRIS, LEFT_IRIS], device=weight.device)
    weight = weight.index_fill(0, irises, 4.0)
    return (weight / weight[used].mean())[used]


def landmark_error(problem: _Problem, found: Unknowns) -> Float[Tensor, "N"]:
    """Each frame's median landmark distance over its inter-ocular distance."""
    with torch.no_grad():
        distance = (_projected(problem, found) - problem.observed).norm(dim=-1)
    return distance.median(1).values / problem.eye_distance


def _descended(
    problem: _Problem, start: Unknowns, rounds: int, progress: Callable[[int], None], *, share: bool
) -> Unknowns:
    """Levenberg-Marquardt. With `share` also for focal length and shape, and then without ties between frames."""
    now, damping = start, 1e-3
    seen = _seen(problem, now)
    value, gradients = _sum_and_gradients(problem, now, seen)
    for done in range(rounds):
        system = _system(problem, now, seen, share=share)
        for _ in range(MAX_DAMPINGS):
            trial = _stepped(now, _step(system, gradients, damping, share=share))
            new_value, new_gradients = _sum_and_gradients(problem, trial, seen)
            if new_value < value:
                break
            damping *= 8
        else:
            break
        gain, damping = (value - new_value) / value, max(damping / 8, 1e-7)
        now, value, gradients = trial, new_value, new_gradients
        progress(done + 1)
        if gain < ENOUGH:
            break
        if done % 3 == 2:
            seen = _seen(problem, now)
            value, gradients = _sum_and_gradients(problem, now, seen)
    progress(rounds)
    return now


def _sum_and_gradients(problem: _Problem, now: Unknowns, seen: Float[Tensor, "N L"]) -> tuple[float, dict[str, Tensor]]:
    """What is minimised, and its exact gradient."""
    free = {name: getattr(now, name).detach().requires_grad_() for name in (*SHARED, *PER_FRAME)}
    tried, N = Unknowns(**free), len(now.root)
    value = 0.0
    for first in range(0, N, CHUNK):
        part = torch.arange(first, min(N, first + CHUNK), device=seen.device)
        misfit = _misfit(problem.frames(part), tried.frames(part), seen[part]).sum() / N
        misfit.backward()
        value += misfit.item()
    strain = _strain(problem, tried)
    strain.backward()
    return value + strain.item(), {name: leaf.grad for name, leaf in free.items() if leaf.grad is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    """The normal matrix's parts, in float64. `cross` and `shared` are empty when only frames are solved for."""

    blocks: Float[Tensor, "N D D"]
    cross: Float[Tensor, "N D G"]
    shared: Float[Tensor, "G G"]
    next_one: Float[Tensor, "N D"]
    next_two: Float[Tensor, "N D"]


def _system(problem: _Problem, now: Unknowns, seen: Float[Tensor, "N L"], *, share: bool) -> _System:
    """Gauss-Newton's matrix: the robust function's weights are held, priors count where they are active."""
    p, N = problem.priors, len(now.root)
    shared_names = SHARED if share else ()
    blocks, crosses = [], []
    shared: Tensor | None = None
    for first in range(0, N, JACOBIAN_CHUNK):
        part = torch.arange(first, min(N, first + JACOBIAN_CHUNK), device=seen.device)
        some, at = problem.frames(part), now.frames(part)
        away = (_projected(some, at) - some.observed) / some.eye_distance[:, None, None]
        held = (p.outlier**2 / (p.outlier**2 + away.square().sum(-1)) / p.noise).square()
        weight = held * seen[part] * problem.weights * (p.points / (away.shape[1] * N))
        own = _jacobian(some, at, PER_FRAME)
        weighted = own * (weight / some.eye_distance[:, None].square())[..., None, None]
        flat = lambda x: x.flatten(1, 2).double()  # noqa: E731
        blocks.append(flat(weighted).transpose(1, 2) @ flat(own))
        if share:
            others = _jacobian(some, at, shared_names)
            crosses.append(flat(weighted).transpose(1, 2) @ flat(others))
            scaled = others * (weight / some.eye_distance[:, None].square())[..., None, None]
            both = torch.einsum("nkg,nkh->gh", flat(scaled), flat(others))
            shared = both if shared is None else shared + both
    blocks = torch.cat(blocks) + _prior_blocks(problem, now)
    D = blocks.shape[-1]
    if shared is not None:
        shape = now.shape.new_full((len(now.shape),), 1 / p.shape**2)
        shared = shared + torch.cat([shape.new_tensor([1 / p.focal**2]), shape]).diag()
    rough = _roughness_bands(problem, now)
    return _System(
        blocks=blocks + torch.diag_embed(rough[0]),
        cross=torch.cat(crosses) if crosses else blocks.new_zeros(N, D, 0),
        shared=blocks.new_zeros(0, 0) if shared is None else shared,
        next_one=rough[1],
        next_two=rough[2],
    )


def _jacobian(problem: _Problem, now: Unknowns, names: tuple[str, ...]) -> Float[Tensor, "N L 2 D"]:
    """How the projected landmarks of each frame move with the named unknowns, by forward differentiation."""
    N = len(now.root)
    per_frame = names == PER_FRAME
    rows = N if per_frame else 1
    packed = torch.cat([getattr(now, name).reshape(rows, -1) for name in names], 1)

    def projected(values: Tensor) -> Tensor:
        parts, at = {}, 0
        for name in names:
            like = getattr(now, name)
            width = like.numel() // rows
            parts[name] = values[:, at : at + width].reshape(like.shape)
            at += width
        return _projected(problem, replace(now, **parts))

    # Frames are independent, so one direction serves all of them at once.
    directions = torch.eye(packed.shape[1], dtype=packed.dtype, device=packed.device)
    along = lambda one: torch.func.jvp(projected, (packed,), (one.expand(rows, -1),))[1]  # noqa: E731
    return torch.func.vmap(along, out_dims=-1)(directions)


def _prior_blocks(problem: _Problem, now: Unknowns) -> Float[Tensor, "N D D"]:
    """Second derivatives of the strain within a frame, over N."""
    p, N = problem.priors, len(now.root)
    units = now.expression
    outside = ((units < 0) | (units > 1)).to(units)
    hidden = 2e4 * _unseen_units(problem.head).to(units)
    even = lambda width, sigma: units.new_full((N, width), 1 / sigma**2)  # noqa: E731
    closed = (now.jaw[:, :1] < 0).to(units) / p.jaw_closed**2
    parts = {
        "expression": 1 / p.expression**2 + outside / p.expression_bound**2 + hidden,
        "root": even(3, p.root),
        "neck": even(3, p.neck),
        "jaw": torch.cat([closed, even(2, p.jaw_side)], 1),
        "eyes": even(4, p.eyes) + 1 / p.eyes_apart**2,
        "translation": units.new_zeros(N, 3),
    }
    blocks = torch.diag_embed(torch.cat([parts[name] for name in PER_FRAME], 1).double())
    first = sum(parts[name].shape[1] for name in PER_FRAME[: PER_FRAME.index("eyes")])
    for k in range(2):
        blocks[:, first + k, first + 2 + k] -= 1 / p.eyes_apart**2
        blocks[:, first + 2 + k, first + k] -= 1 / p.eyes_apart**2
    return blocks / N


def _roughness_bands(problem: _Problem, now: Unknowns) -> tuple[Tensor, Tensor, Tensor]:
    """Second derivatives of the roughness: each frame's own, with the next, with the one after the next."""
    N = len(now.root)
    sigma = _smoothness(problem)
    weight = torch.cat([(1 / sigma[name].square()).expand(getattr(now, name)[0].numel()) for name in PER_FRAME])
    weight = weight.double() / N
    own, one, two = (torch.zeros(N, len(weight), dtype=torch.float64, device=weight.device) for _ in range(3))
    if N > 2:
        tied = problem.neighbours.double()[:, None] * weight
        own[:-2] += tied
        own[1:-1] += 4 * tied
        own[2:] += tied
        one[:-2] -= 2 * tied
        one[1:-1] -= 2 * tied
        two[:-2] += tied
    return own, one, two


def _step(system: _System, gradients: dict[str, Tensor], damping: float, *, share: bool) -> dict[str, Tensor]:
    """The damped step of every unknown that is solved for."""
    N, D = system.next_one.shape
    frame_gradient = torch.cat([gradients[name].reshape(N, -1) for name in PER_FRAME], 1).double()
    diagonal = system.blocks.diagonal(dim1=1, dim2=2)
    blocks = system.blocks + torch.diag_embed(damping * diagonal + 1e-9)
    if not share:
        return {"frames": step_with_neighbours(blocks, system.next_one, system.next_two, frame_gradient)}
    shared = system.shared + (damping * system.shared.diagonal() + 1e-9).diag()
    shared_gradient = torch.cat([gradients[name].reshape(-1) for name in SHARED]).double()
    frames, both = step_with_shared(blocks, system.cross, shared, frame_gradient, shared_gradient)
    assert frames.shape == (N, D)
    return {"frames": frames, "shared": both}


def _stepped(now: Unknowns, step: dict[str, Tensor]) -> Unknowns:
    moved: dict[str, Tensor] = {}
    for names, part in ((PER_FRAME, step["frames"]), (SHARED, step.get("shared"))):
        at = 0
        for name in names if part is not None else ():
            value = getattr(now, name)
            width = value[0].numel() if names is PER_FRAME else value.numel()
            assert part is not None
            moved[name] = value + part[..., at : at + width].reshape(value.shape).to(value)
            at += width
    return replace(now, **moved)


def _projected(problem: _Problem, now: Unknowns) -> Float[Tensor, "N L 2"]:
    world = pose_vertices(
        problem.head, shape=now.shape, expression=now.expression, pose=now.pose(), translation=now.translation
    )
    return problem.view.camera(now.log_focal).project(world)


def _misfit(problem: _Problem, now: Unknowns, seen: Float[Tensor, "N L"]) -> Float[Tensor, "N"]:
    """Each frame's landmark distances over their noise, by the Geman-McClure function."""
    away = (_projected(problem, now) - problem.observed) / problem.eye_distance[:, None, None]
    squared = away.square().sum(-1)
    cap = problem.priors.outlier**2
    robust = cap * squared / (cap + squared) / problem.priors.noise**2
    return 0.5 * problem.priors.points * (robust * seen * problem.weights).mean(1)


def _seen(problem: _Problem, now: Unknowns) -> Float[Tensor, "N L"]:
    """How much each landmark faces the camera, 0.05 .. 1: behind the face's edge the network guesses."""
    with torch.no_grad():
        bare = replace(problem.head, template=problem.normals)
        blank = {n: torch.zeros_like(getattr(bare, n)) for n in ("shape_dirs", "expression_dirs", "pose_dirs")}
        still = replace(bare, **blank, joints=torch.zeros_like(bare.joints))
        still = replace(still, joint_shape_dirs=torch.zeros_like(bare.joint_shape_dirs))
        still = replace(still, joint_expression_dirs=torch.zeros_like(bare.joint_expression_dirs))
        turned = {"shape": now.shape, "expression": now.expression, "pose": now.pose()}
        normals = pose_vertices(still, **turned, translation=torch.zeros_like(now.translation))
        # The camera looks along -z and is far away compared with the head.
        return ((normals[..., 2] + 0.05) / 0.4).clamp(0.05, 1)


def _strain(problem: _Problem, now: Unknowns) -> Float[Tensor, ""]:
    """How unlikely the unknowns are in themselves, per frame."""
    p, head = problem.priors, problem.head
    square = lambda x, sigma: 0.5 * (x / sigma).square()  # noqa: E731
    once = (
        square(now.log_focal - math.log(p.focal_mean * problem.view.size), p.focal) + square(now.shape, p.shape).sum()
    )
    units = now.expression
    outside = torch.relu(-units) + torch.relu(units - 1)
    per_frame = square(units, p.expression).sum(1) + square(outside, p.expression_bound).sum(1)
    per_frame = per_frame + 1e4 * (units * _unseen_units(head).to(units)).square().sum(1)
    per_frame = per_frame + square(now.root - now.root.mean(0), p.root).sum(1) + square(now.neck, p.neck).sum(1)
    per_frame = per_frame + square(now.jaw[:, 1:], p.jaw_side).sum(1) + square(torch.relu(-now.jaw[:, 0]), p.jaw_closed)
    per_frame = per_frame + square(now.eyes, p.eyes).sum((1, 2))
    per_frame = per_frame + square(now.eyes[:, 0] - now.eyes[:, 1], p.eyes_apart).sum(1)
    return once + per_frame.mean() + _roughness(problem, now)


def _roughness(problem: _Problem, now: Unknowns) -> Float[Tensor, ""]:
    """Second differences in time, where three frames follow each other."""
    total = torch.zeros_like(now.log_focal)
    if len(now.root) < 3:
        return total
    sigma = _smoothness(problem)
    for name in PER_FRAME:
        values = getattr(now, name).flatten(1)
        bend = (values[2:] - 2 * values[1:-1] + values[:-2])[problem.neighbours] / sigma[name]
        total = total + 0.5 * bend.square().sum() / len(values)
    return total


def _smoothness(problem: _Problem) -> dict[str, Tensor]:
    """Standard deviations of second differences at this frame rate; one number, or one per unit of expression."""
    p, like = problem.priors, problem.weights
    lids = torch.tensor([name.startswith(("eyeBlink", "eyeWide")) for name in problem.head.expression_names])
    slower = (REFERENCE_FPS / problem.fps) ** 2
    even = {
        "root": p.smooth_root,
        "neck": p.smooth_rotation,
        "jaw": p.smooth_jaw,
        "eyes": p.smooth_eyes,
        "translation": p.smooth_translation,
    }
    deviations = {name: like.new_tensor(sigma * slower) for name, sigma in even.items()}
    deviations["expression"] = torch.where(lids, p.smooth_lids, p.smooth_expression).to(like) * slower
    return deviations


def _unseen_units(head: HeadModel) -> Bool[Tensor, "E"]:
    """Units that landmarks can't show: the tongue."""
    return torch.tensor([name.startswith("tongue") for name in head.expression_names])


def _landmark_normals(head: HeadModel) -> Float[Tensor, "L 3"]:
    a, b, c = head.template[head.faces[head.landmarks.face[head.landmarks.face >= 0]]].unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)


def _rigid_start(
    head: HeadModel, points: Float[Tensor, "N 478 2"], size: int, principal: tuple[float, float], priors: Priors
) -> tuple[View, Unknowns]:
    """Pose the mean head by PnP in every frame; its mean rotation becomes the root's, the rest the neck's."""
    marks, used = landmark_head(head), head.landmarks.face >= 0
    firm = (head.landmarks.spread[used] < 0.0025).cpu().numpy()
    firm &= ~np.isin(torch.nonzero(used)[:, 0].cpu().numpy(), FACE_OVAL)
    model = marks.template.cpu().double().numpy()[firm]
    seen = points[:, used].cpu().double().numpy()[:, firm]
    focal = priors.focal_mean * size
    lens = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    flip = OPENCV_FROM_WORLD.double().numpy()
    rotations, places = [], []
    for frame in seen:
        _, turn, place = cv2.solvePnP(model, np.ascontiguousarray(frame), lens, None, flags=cv2.SOLVEPNP_SQPNP)
        rotations.append(flip @ cv2.Rodrigues(turn)[0])
        places.append(place[:, 0])
    turns, place = Rotation.from_matrix(np.stack(rotations)), np.stack(places)
    depth = float(np.median(place[:, 2]))
    base = turns.mean()
    root, neck = (head.joints[j].cpu().double().numpy() for j in (ROOT, NECK))
    # Head points are R x + t; posed ones are root + base (neck - root) + R (x - neck) + translation.
    shift = (place - [0, 0, depth]) @ flip - root - base.apply(neck - root) + turns.apply(neck)
    like = lambda values: torch.as_tensor(values, dtype=points.dtype, device=points.device)  # noqa: E731
    N = len(points)
    start = Unknowns(
        log_focal=like(math.log(focal)),
        shape=points.new_zeros(head.n_shape),
        expression=points.new_zeros(N, head.n_expression),
        root=like(base.as_rotvec()).expand(N, 3).clone(),
        neck=like((base.inv() * turns).as_rotvec()),
        jaw=points.new_zeros(N, 3),
        eyes=points.new_zeros(N, 2, 2),
        translation=like(shift),
    )
    return View(size=size, principal=principal, focal=focal, depth=depth), start


def _head_kept_in_place(marks: HeadModel, start: Unknowns, now: Unknowns) -> Unknowns:
    """`now` with each frame's translation such that the middle of its landmarks is where it is in `start`."""

    def middle(u: Unknowns) -> Float[Tensor, "N 3"]:
        pose = torch.zeros_like(u.pose())
        pose[:, :2] = u.pose()[:, :2]
        still = torch.zeros_like(u.expression)
        return pose_vertices(marks, shape=u.shape, expression=still, pose=pose, translation=u.translation).mean(1)

    return replace(now, translation=now.translation + middle(start) - middle(now))
