"""A fit that can be looked at, and held, while it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, final

from flare_cli.avatar.avatar import Avatar
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.filming.performance import Performance
from flare_cli.show.viewing.address import Address, Listening
from flare_cli.show.viewing.desk import Desk
from flare_cli.show.viewing.server import PageServer
from flare_cli.show.viewing.service import ViewingService
from flare_cli.show.viewing.studio import Studio


@dataclass(frozen=True, slots=True, kw_only=True)
class FitState:
    """How far a fit is."""

    stage: str
    step: int
    total: int
    loss: float


@final
class Watch:
    """A page for a fit. The loop that fits also draws, between its steps, and only what a page has asked for."""

    def __init__(self, title: str, own: Performance, rasterizer: Rasterizer, at: Listening) -> None:
        self._own, self._rasterizer = own, rasterizer
        self._desk = Desk()
        self._studio: Studio | None = None
        self._state: FitState | None = None
        self._paused = False
        service = ViewingService(title, self._opened, self._desk, state=self._told, pause=self._pause)
        self._server = PageServer(service, at)

    @property
    def address(self) -> Address:
        """Where the page is."""
        return self._server.address

    def __enter__(self) -> Watch:
        self._server.__enter__()
        return self

    def attend(self, avatar: Avatar, state: FitState) -> None:
        """Draw what a page waits for; while it holds the fit, go on doing so."""
        self._state = state
        if self._studio is None:
            self._studio = Studio(avatar, self._rasterizer, self._own, {})
        self._studio.avatar_changed()
        self._desk.attend(0)
        while self._paused:
            self._desk.attend(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk.close()
        self._server.__exit__(kind, error, trace)

    def _opened(self) -> Studio:
        assert self._studio is not None, "asked for at the desk, which is attended after a step"
        return self._studio

    def _told(self) -> dict[str, Any]:
        assert self._state is not None
        return {**asdict(self._state), "paused": self._paused}

    def _pause(self, held: bool) -> None:
        self._paused = held
