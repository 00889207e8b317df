"""Where a page listens and where it is found. Without the server itself: a fit that nobody looks at loads none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

FIRST_PORT = 8350
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the page is: for a browser on this computer, and how to get there from another one."""

    url: str
    ssh: str


OnOpen: TypeAlias = Callable[[Address], object]
"""Told where a page is, once it can be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where to listen: an address of this computer, and a port; without one `FIRST_PORT`, or any that is free."""

    host: str = LOOPBACK
    port: int | None = None


THIS_COMPUTER = Listening()
