"""The stages of all subjects one after the other in this program, where there is no Ray or one at a time is wanted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import final

import torch

from flare_cli.apps.batch.board import Board, ShowBoard
from flare_cli.apps.batch.stages import Outcome, Place, run_stage
from flare_cli.apps.batch.work import BEFORE, Stage, Work


@final
class InTurn:
    """Runs what is wanted on `device`."""

    def __init__(self, device: str) -> None:
        self._device = device

    def has_gpu(self) -> bool:
        """Whether fits go to a GPU."""
        return self._device != "cpu" and torch.cuda.is_available()

    def run(self, works: Sequence[Work], board: Board, show: ShowBoard) -> Generator[Outcome]:
        """The outcome of every stage that is wanted."""
        for work in works:
            outcomes: dict[Stage, Outcome] = {}
            for stage in work.stages:
                board.start(work.name, stage)
                show(board)
                before = BEFORE[stage]
                place = Place(device=self._device)
                outcomes[stage] = run_stage(None if before is None else outcomes.get(before), work, stage, place)
                board.end(outcomes[stage])
                show(board)
                yield outcomes[stage]
