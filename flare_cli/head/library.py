"""Heads by name: the bundled one, and those that the user added."""

from __future__ import annotations

from flare_cli.errors import HeadError
from flare_cli.head import open_head
from flare_cli.head.model import HeadModel
from flare_cli.head.stored import NAME, head_path, load_stored_head, stored_names


def load_head(name: str) -> HeadModel:
    """The head model called `name`, on the CPU. Raises `HeadError` where there is none."""
    if name == open_head.NAME:
        return open_head.load_open_head()
    if NAME.fullmatch(name) and head_path(name).is_file():
        return load_stored_head(name)
    known = ", ".join(repr(n) for n in (open_head.NAME, *stored_names()))
    more = "; FLAME's file is added with `flare head add generic_model.pkl`" if name.startswith("flame") else ""
    raise HeadError(f"no head model is called {name!r}", hint=f"there is {known}{more}")
