"""How an app says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

# (stage, done, total); called from one thread, as often as the stage likes.
ProgressCallback: TypeAlias = Callable[[str, int, int], None]


def quiet(stage: str, done: int, total: int) -> None:
    """A callback for nobody."""
