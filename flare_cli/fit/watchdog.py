"""What watches a fit: which loss breaks, and the last good state to go back to, with smaller steps from there on."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from flare_cli.errors import FitError
from flare_cli.fit.optimiser import Adam

# Steps between two copies of everything that moves.
KEEP_EVERY = 100
# After going back all rates are this part of what they were; a stage does not go back more often than this.
SLOWER, MOST_RETURNS = 0.5, 3
# Losses together beyond so many times their running mean have collapsed. In fits of four recordings (`cpu`, each tenth
# of 600 to 1,200 steps) they were at most 1.7 times the smallest before.
COLLAPSED = 5.0
# The running mean takes in this part of each step, and judges after so many.
MEAN_RATE, FIRST_JUDGED = 0.1, 20


@final
class LossWatch:
    """Knows what the losses of a stage usually are, and says which one breaks."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._usual: dict[str, float] = {}
        self._seen = 0

    def forget(self) -> None:
        """Begin to learn what is usual anew, on a mesh that has changed."""
        self._usual, self._seen = {}, 0

    def check(self, step: int, terms: dict[str, float]) -> None:
        """Raise `FitError` naming stage, step and term if a loss is not finite, or all together have collapsed."""
        for name, value in terms.items():
            if not math.isfinite(value):
                raise self._broken(step, f"the {name} loss is {value}")
        usual = sum(self._usual.values())
        if self._seen >= FIRST_JUDGED and sum(terms.values()) > COLLAPSED * usual > 0:
            worst = max(terms, key=lambda name: terms[name] - self._usual[name])
            times = sum(terms.values()) / usual
            raise self._broken(step, f"the losses are {times:.0f} times what they were, {worst} most of all")
        rate = MEAN_RATE if self._seen else 1.0
        self._usual = {name: (1 - rate) * self._usual.get(name, 0.0) + rate * value for name, value in terms.items()}
        self._seen += 1

    def _broken(self, step: int, what: str) -> FitError:
        return FitError(
            f"the fit stopped: stage {self._stage!r}, step {step}: {what}",
            hint="lower the learning rates (for example --set stage.mesh_rate=5e-4) and run again",
        )


@final
class LastGood:
    """A copy, where it is, of all that the steps on one mesh move."""

    def __init__(self, parts: dict[str, nn.Module], optimiser: Adam) -> None:
        self._parts, self._optimiser = parts, optimiser
        self._copy: dict[str, Tensor] = {}
        self._step = 0

    def keep(self, step: int) -> None:
        """Remember the state before `step`, if the last copy is old and all of it is finite."""
        if self._copy and step - self._step < KEEP_EVERY:
            return
        if all(bool(torch.isfinite(tensor).all()) for tensor in self._tensors().values()):
            self._copy, self._step = self._copied(), step

    @torch.no_grad()
    def put_back(self, error: FitError) -> int:
        """Put the copy back, with smaller rates; the step to go on from. Raises `error` where there is no copy.

        Tensors keep their places: a captured step goes on with them.
        """
        if not self._copy:
            raise error
        for name, tensor in self._tensors().items():
            tensor.copy_(self._copy[name])
        self._optimiser.slow_down(SLOWER)
        self._copy = self._copied()  # with the smaller rates
        return self._step

    def _copied(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        states = {part: module.state_dict() for part, module in self._parts.items()}
        named = {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}
        return named | self._optimiser.tensors()
