"""The open head as an actor: a seeded shape, posed by our own head model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices
from flare_cli.synthetic.people.face_space import FaceSpace, open_head_space
from flare_cli.synthetic.people.interface import HeadParameters
from flare_cli.synthetic.performance import Performance

# Deviation of the shape's components (of unit variance) and how many are not 0: a person near the average.
SHAPE_SIGMA, SHAPE_COMPONENTS = 0.6, 40


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHeadActor:
    """A person of our own head model, so with exact parameters."""

    head: HeadModel
    shape: Float[Tensor, "S"]
    faces: Int[Tensor, "F 3"]
    neutral: Float[Tensor, "V 3"]
    space: FaceSpace

    def control(self, performance: Performance, frame: int) -> Float[Tensor, "V 3"]:
        """The head's own vertices, in order."""
        one = slice(frame, frame + 1)
        return pose_vertices(
            self.head,
            shape=self.shape,
            expression=performance.expression(self.head)[one],
            pose=performance.pose(self.head)[one],
            translation=performance.translation[one],
        )[0]

    def parameters(self, performance: Performance) -> HeadParameters:
        """Exact, for all frames."""
        return HeadParameters(
            shape=self.shape,
            expression=performance.expression(self.head),
            pose=performance.pose(self.head),
            translation=performance.translation,
        )


def open_head_actor(seed: int) -> OpenHeadActor:
    """The person of a seed."""
    head = load_head("open-head")
    shape = torch.zeros(head.n_shape)
    generator = torch.Generator().manual_seed(seed)
    shape[:SHAPE_COMPONENTS] = SHAPE_SIGMA * torch.randn(SHAPE_COMPONENTS, generator=generator)
    return OpenHeadActor(
        head=head,
        shape=shape,
        faces=head.faces,
        neutral=head.template + head.shape_dirs @ shape,
        space=open_head_space(head),
    )
