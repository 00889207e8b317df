"""Heads by name."""

from __future__ import annotations

from flare_cli.errors import HeadError
from flare_cli.head import open_head
from flare_cli.head.model import HeadModel


def load_head(name: str) -> HeadModel:
    """The head model called `name`, on the CPU. Raises `HeadError` where there is none."""
    if name == open_head.NAME:
        return open_head.load_open_head()
    raise HeadError(f"no head model is called {name!r}", hint=f"use {open_head.NAME!r}, the bundled one")
