"""What is filmed, whatever the head: a control mesh that is the truth's, and the detailed surface that is traced."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.performance import Performance
from flare_cli.synthetic.raytrace import PaintedMesh


class HeadParameters(NamedTuple):
    """Parameters of our own head model for all frames; with them it reproduces the control mesh exactly."""

    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "B E"]
    pose: Float[Tensor, "B J 3"]
    translation: Float[Tensor, "B 3"]


@runtime_checkable
class Actor(Protocol):
    """A bare head that performs."""

    @property
    def faces(self) -> Int[Tensor, "F 3"]:
        """Triangles."""
        ...

    @property
    def neutral(self) -> Float[Tensor, "V 3"]:
        """The vertices at rest, world metres."""
        ...

    @property
    def space(self) -> FaceSpace:
        """What each vertex is."""
        ...

    def control(self, performance: Performance, frame: int) -> Float[Tensor, "V 3"]:
        """The vertices in one frame."""
        ...

    def parameters(self, performance: Performance) -> HeadParameters | None:
        """Parameters of our own head model, if this head is one."""
        ...


@runtime_checkable
class FilmedPerson(Protocol):
    """A person before the camera."""

    @property
    def faces(self) -> Int[Tensor, "F 3"]:
        """Triangles of the control mesh."""
        ...

    @property
    def labels(self) -> Int[Tensor, "V"]:
        """CelebAMask-19 numbers of the control mesh's vertices."""
        ...

    def control(self, performance: Performance, frame: int) -> Float[Tensor, "V 3"]:
        """The control mesh's vertices in one frame, world metres."""
        ...

    def posed(self, performance: Performance, frame: int) -> PaintedMesh:
        """The detailed, painted surface in one frame, world metres."""
        ...

    def parameters(self, performance: Performance) -> HeadParameters | None:
        """Exact parameters of our own head model; None where the person is of another."""
        ...
