"""How far a batch is: what runs, what is done, and when the rest will be."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from flare_cli.apps.batch.stages import Outcome
from flare_cli.apps.batch.work import STAGES, Stage, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """A line of the board: numbers of subjects, and the mean seconds of those that are done."""

    stage: Stage
    total: int
    waiting: int
    running: int
    done: int
    kept: int
    failed: int
    skipped: int
    seconds: float | None


@final
class Board:
    """Counts of a batch, by stage."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._total = Counter(stage for work in works for stage in work.stages)
        self._ended: dict[Stage, Counter[str]] = {stage: Counter() for stage in STAGES}
        self._seconds: defaultdict[Stage, float] = defaultdict(float)
        self._running: set[tuple[str, Stage]] = set()
        self._since = time.monotonic()

    def start(self, name: str, stage: Stage) -> None:
        """A stage of a subject has begun, here or on another machine."""
        self._running.add((name, stage))

    def end(self, outcome: Outcome) -> None:
        """A stage of a subject has ended."""
        self._running.discard((outcome.name, outcome.stage))
        self._ended[outcome.stage][outcome.state] += 1
        if outcome.state == "done":
            self._seconds[outcome.stage] += outcome.seconds

    def lines(self) -> list[StageCount]:
        """The stages that somebody wants, in order."""
        running = Counter(stage for _, stage in self._running)
        lines: list[StageCount] = []
        for stage in STAGES:
            if total := self._total[stage]:
                ended = self._ended[stage]
                now = min(running[stage], total - ended.total())
                lines.append(
                    StageCount(
                        stage=stage,
                        total=total,
                        waiting=total - ended.total() - now,
                        running=now,
                        done=ended["done"],
                        kept=ended["kept"],
                        failed=ended["failed"],
                        skipped=ended["skipped"],
                        seconds=self._seconds[stage] / ended["done"] if ended["done"] else None,
                    )
                )
        return lines

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._since

    def left(self) -> float | None:
        """Seconds that the rest will take, if work goes on at the rate so far; None while a stage is not yet known."""
        lines = self.lines()
        if any(line.seconds is None and line.waiting + line.running for line in lines):
            return None
        spent = sum(self._seconds.values())
        to_come = sum((line.waiting + 0.5 * line.running) * (line.seconds or 0.0) for line in lines)
        return self.elapsed() * to_come / spent if spent else 0.0


ShowBoard: TypeAlias = Callable[[Board], None]


def unseen(board: Board) -> None:
    """A callback for nobody."""
