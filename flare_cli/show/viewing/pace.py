"""How large to draw while something moves, so that it goes on moving."""

from __future__ import annotations

from dataclasses import dataclass

# Of a picture while something moves. On a CPU: slower turns are not felt as turning. On a GPU 60 a second, with some
# time left for what is not drawing.
SECONDS = {"cpu": 1 / 15, "cuda": 1 / 75}
SMALLEST = 160  # rows: less shows no expression
MOST_CHANGE = 1.3  # of rows from one picture to the next
STEP = 16  # rows: sizes that change with every picture flicker


@dataclass(slots=True)
class Pace:
    """The height of pictures that move: it follows the time that they take, which should be `wanted` seconds."""

    wanted: float
    rows: float = 256.0

    def height(self, whole: int) -> int:
        """Rows to draw of a picture that has `whole` of them when it stands still."""
        return min(whole, max(STEP, round(self.rows / STEP) * STEP))

    def took(self, seconds: float, whole: int) -> None:
        """Learn from a moving picture."""
        needed = (self.wanted / max(seconds, 1e-4)) ** 0.5
        change = min(max(needed, 1 / MOST_CHANGE), MOST_CHANGE)
        self.rows = min(max(self.rows * change, SMALLEST), max(whole, SMALLEST))
