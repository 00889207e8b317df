"""What the solver minimises: the energy of the whole track, a negative log-posterior.

The data energy is here: landmark distances over their noise, by a robust function. `prior_energy` holds the rest: how
far each parameter is from what heads usually do, and second differences in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, pose_vertices
from flare_cli.render.camera import OPENCV_FROM_OPENGL, Cameras

PER_FRAME = ("expression", "root", "neck", "jaw", "eyes", "translation")
SHARED = ("log_focal", "shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """How sure we are, as standard deviations: rotations in radians, translation in metres, expressions in 0..1 units.

    Where expressions are not named units (FLAME), `component` takes the place of `expression` and there are no bounds.
    The numbers were chosen by eye on the development recordings, with no experiment logged, unless something else is
    said.
    """

    # The camera: the focal length's usual value in sizes of the crop, and the deviation of its logarithm. Landmarks
    # hardly tell it, and say too little on every recording of which it is known (docs/experiments.md, "Short lenses").
    focal: float = 0.15
    focal_mean: float = 1.9
    # The heads' shape components have unit variance.
    shape: float = 1.0
    # Landmark distances in parts of the inter-ocular distance: usual ones, and those from which on a landmark counts as
    # wrong. Tracks of the development recordings end at a median of 0.009 (docs/experiments.md, "landmarks and start").
    noise: float = 0.01
    outlier: float = 0.04
    # How many independent measurements the 476 correlated landmarks of a frame are worth.
    points: float = 100.0
    # The same for what all frames share: the network's errors on one face are alike in all frames, and don't average
    # out.
    shared_points: float = 30.0
    # Points of the skin that are followed: their noise in parts of the inter-ocular distance, how many independent
    # measurements a frame's are worth, and what landmarks then count for beside them (docs/experiments.md, "Skin that
    # is followed").
    skin_noise: float = 0.004
    skin_points: float = 100.0
    beside_skin: float = 0.3
    # How far (metres) a point of the skin is from where the head model's surface has it: no face is the model's, and a
    # point is taken for another place of it. 1, 2 and 4 mm can't be told apart (docs/experiments.md, "Skin where it
    # is, and the torso").
    skin_place: float = 0.002
    # The same of the torso, which is of cloth, and how many of the skin's points a frame's are worth. Where cloth has
    # no pattern what is found slides, so they may not count for much (there, too).
    torso_place: float = 0.01
    torso_points: float = 8.0
    # Named units, and how far they may be below 0 or above 1.
    expression: float = 0.35
    expression_bound: float = 0.03
    # Units that no landmark shows are only to be held at 0: an energy of 1e4 times their square.
    expression_unseen: float = math.sqrt(1 / 2e4)
    # Expression components of unit variance.
    component: float = 1.0
    # The root's turn from its mean over the shot (the torso rests), and the neck's (the head turns).
    root: float = 0.05
    neck: float = 0.5
    # So weak that it only decides what nothing else does.
    translation: float = 1.0
    # The jaw's turn to the side, and how far it may close beyond closed.
    jaw_side: float = 0.03
    jaw_closed: float = 0.02
    # The eyes' pitch and yaw, and those of one eye less the other's: both look at the same thing.
    eyes: float = 0.3
    eyes_apart: float = 0.05
    # Second differences in time at 30 frames a second (`REFERENCE_FPS`). Lids are fast: a blink takes some five frames.
    smooth_rotation: float = 0.012
    smooth_root: float = 0.002
    smooth_translation: float = 0.0015
    smooth_expression: float = 0.10
    smooth_lids: float = 0.6
    smooth_jaw: float = 0.04
    smooth_eyes: float = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackParameters:
    """Everything that is solved for. `eyes` holds pitch and yaw of the left and the right eye.

    `places` is how far the points `Problem.free` lie from where the head model has them (metres, at rest).
    """

    log_focal: Float[Tensor, ""]
    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "N E"]
    root: Float[Tensor, "N 3"]
    neck: Float[Tensor, "N 3"]
    jaw: Float[Tensor, "N 3"]
    eyes: Float[Tensor, "N 2 2"]
    translation: Float[Tensor, "N 3"]
    places: Float[Tensor, "F 3"] = field(default_factory=partial(torch.zeros, 0, 3))

    def pose(self) -> Float[Tensor, "N 5 3"]:
        """The joints' axis-angles in the head model's order."""
        eyes = torch.cat([self.eyes, torch.zeros_like(self.eyes[..., :1])], -1)
        return torch.cat([torch.stack([self.root, self.neck, self.jaw], 1), eyes], 1)

    def frames(self, index: Tensor | slice) -> TrackParameters:
        """The same, of some frames."""
        return replace(self, **{name: getattr(self, name)[index] for name in PER_FRAME})

    def with_frames(self, index: Tensor, other: TrackParameters) -> TrackParameters:
        """The same, with some frames of another."""
        return replace(
            self, **{name: getattr(self, name).index_copy(0, index, getattr(other, name)) for name in PER_FRAME}
        )

    def columns(self, names: Iterable[str]) -> dict[str, slice]:
        """Where each parameter's numbers lie in a row of `names`: a frame's of `PER_FRAME`, or the one of `SHARED`."""
        columns: dict[str, slice] = {}
        first = 0
        for name in names:
            value = getattr(self, name)
            width = value[0].numel() if name in PER_FRAME else value.numel()
            columns[name] = slice(first, first + width)
            first += width
        return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraModel:
    """The one camera, at any focal length: picture size and principal point (pixels), and depth of the world origin.

    `depth` (metres) belongs to focal length `focal` (pixels). It grows with the focal length that is solved for, so
    that the head keeps its size in the picture.
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
        rotation = torch.from_numpy(OPENCV_FROM_OPENGL).to(log_focal)
        return Cameras(
            intrinsics=torch.cat([focal, focal, principal])[None],
            camera_from_world=torch.cat([rotation, column[:, None]], 1)[None],
            height=self.size,
            width=self.size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What was seen, and what is believed beforehand. `head` has the used landmarks as its vertices.

    `neighbours` tells where frames n, n + 1 and n + 2 follow each other in time; `shots` which shot of the film each
    frame is of, None: all of one. `confidence` is how much each landmark counts in each frame, None: all alike.
    `outlier` is from which distance on each landmark counts as wrong, None: `Priors.outlier`. `free` are the landmarks
    whose places on the head are solved for, too, and `place` how far (metres) they may be from the model's.
    """

    head: HeadModel
    normals: Float[Tensor, "L 3"]
    weights: Float[Tensor, "L"]
    observed: Float[Tensor, "N L 2"]
    eye_distance: Float[Tensor, "N"]
    neighbours: Bool[Tensor, "max(N-2,0)"]
    camera_model: CameraModel
    priors: Priors
    fps: float
    shots: Int[Tensor, "N"] | None = None
    confidence: Float[Tensor, "N L"] | None = None
    outlier: Float[Tensor, "L"] | None = None
    free: Int[Tensor, "F"] = field(default_factory=partial(torch.zeros, 0, dtype=torch.long))
    place: Float[Tensor, "F"] = field(default_factory=partial(torch.zeros, 0))

    @property
    def cap(self) -> Float[Tensor, "L"] | float:
        """Squared distance, in parts of the inter-ocular one, at which the robust function reaches half its height."""
        return (self.priors.outlier if self.outlier is None else self.outlier) ** 2

    def placed(self, places: Float[Tensor, "F 3"]) -> HeadModel:
        """The head whose landmarks `free` are moved at rest."""
        if len(self.free) == 0:
            return self.head
        return replace(self.head, template=self.head.template.index_add(0, self.free, places))

    def frames(self, index: Tensor) -> Problem:
        """Some frames on their own, without ties between them."""
        return replace(
            self,
            observed=self.observed[index],
            eye_distance=self.eye_distance[index],
            neighbours=torch.zeros(max(0, len(index) - 2), dtype=torch.bool, device=index.device),
            shots=None if self.shots is None else self.shots[index],
            confidence=None if self.confidence is None else self.confidence[index],
        )


def projected_landmarks(problem: Problem, now: TrackParameters) -> Float[Tensor, "N L 2"]:
    """The used landmarks in pixels, as the parameters place them."""
    world = pose_vertices(
        problem.placed(now.places),
        shape=now.shape,
        expression=now.expression,
        pose=now.pose(),
        translation=now.translation,
    )
    return problem.camera_model.camera(now.log_focal).project(world)


def data_energy(problem: Problem, now: TrackParameters, visible: Float[Tensor, "N L"]) -> Float[Tensor, "N"]:
    """The data energy of each frame: landmark distances over their noise, by the Geman-McClure function."""
    away = (projected_landmarks(problem, now) - problem.observed) / problem.eye_distance[:, None, None]
    squared = away.square().sum(-1)
    robust = problem.cap * squared / (problem.cap + squared) / problem.priors.noise**2
    return 0.5 * problem.priors.points * (robust * visible * problem.weights).mean(1)


def visibility(problem: Problem, now: TrackParameters) -> Float[Tensor, "N L"]:
    """How much each landmark faces the camera, 0.05 .. 1 (behind the face's edge the network guesses), and is found."""
    with torch.no_grad():
        still = torch.zeros_like(problem.head.joints)
        turns = joint_transforms(still, now.pose(), problem.head.parents)[:, :, 2, :3]
        towards = ((problem.head.weights @ turns) * problem.normals).sum(-1)
        facing = visible_part(towards)
        return facing if problem.confidence is None else facing * problem.confidence


def visible_part(towards: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """How much a place counts by the cosine between its normal and the way to the camera, 0.05 .. 1.

    The camera looks along -z and is far away compared with the head. Full weight from 0.35 (70 degrees) on, least
    weight from a little behind the edge. Chosen by eye.
    """
    return ((towards + 0.05) / 0.4).clamp(0.05, 1)


def landmark_error(problem: Problem, fitted: TrackParameters) -> Float[Tensor, "N"]:
    """Each frame's median landmark distance over its inter-ocular distance."""
    with torch.no_grad():
        distance = (projected_landmarks(problem, fitted) - problem.observed).norm(dim=-1)
    return distance.median(1).values / problem.eye_distance
