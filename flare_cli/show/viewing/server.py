"""The page's server: who may ask what over HTTP. The only module that knows of the network.

It listens on this computer alone unless told otherwise. Every address begins with a key that only the printed URL has,
so other users of the computer and pages of other origins can't ask; names that were made to lead here (DNS rebinding)
and requests from other pages are refused by their Host and Origin headers as well.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from types import TracebackType
from typing import Any, Protocol, final, runtime_checkable
from urllib.parse import unquote, urlsplit

from flare_cli.errors import FileError, FlareError
from flare_cli.show.viewing.address import FIRST_PORT, LOOPBACK, Address, Listening

ALL = ("0.0.0.0", "::")  # hosts that stand for every address of this computer
PAGE = {
    "": ("live.html", "text/html"),
    "panel.css": ("panel.css", "text/css"),
    "panel.js": ("panel.js", "text/javascript"),
    "live.js": ("live.js", "text/javascript"),
}
"""The files of the page: what they are called below the key, where they are, and their type."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
IDLE_SECONDS = 60  # after which a connection that says nothing is closed
MOST_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a file's bytes, its type, and headers of our own."""

    data: bytes
    kind: str = "application/json"
    told: dict[str, str] | None = None


@runtime_checkable
class Service(Protocol):
    """What a page can ask for: a name below the key, and what it sent with it."""

    def largest(self, name: str) -> int:
        """How many bytes may come with a request of that name; raises `KeyError` for one that there is not."""
        ...

    def answer(self, name: str, data: bytes, label: str) -> Answer:
        """Do what was asked. Raises `FlareError` for anything that can't be done; called from many threads."""
        ...


@final
class PageServer:
    """Serves one page from threads of its own while its block runs. Raises `FlareError` where it can't listen."""

    def __init__(self, service: Service, at: Listening) -> None:
        self._key = secrets.token_urlsafe(12)
        self._server = _listening(at)
        self._server.service, self._server.key = service, self._key
        self._server.is_ours = _own_names(at.host)
        self._host, self._port = at.host, self._server.server_address[1]

    @property
    def address(self) -> Address:
        """The page's address, key included."""
        shown = socket.gethostname() if self._host in ALL else self._host
        shown = f"[{shown}]" if ":" in shown else shown
        return Address(
            url=f"http://{shown}:{self._port}/{self._key}/",
            ssh=f"ssh -L {self._port}:{LOOPBACK if self._host in ALL else shown}:{self._port} {socket.gethostname()}",
        )

    def __enter__(self) -> PageServer:
        serve = partial(self._server.serve_forever, poll_interval=0.05)  # seconds until it sees that it shall end
        threading.Thread(target=serve, name="flare page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: Service
    key: str
    is_ours: Callable[[str], bool]
    request_queue_size = MOST_CONNECTIONS  # that wait to be taken; of more the system asks again after a second

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is nothing to tell; a mistake of ours was answered with 500."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    @property
    def _page(self) -> _Server:
        assert isinstance(self.server, _Server)
        return self.server

    def do_GET(self) -> None:
        name = self._allowed()
        if name is None:
            return
        if name not in PAGE:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        file, kind = PAGE[name]
        data = (files("flare_cli") / "assets" / "viewer" / file).read_bytes()
        self._send(HTTPStatus.OK, Answer(data, f"{kind}; charset=utf-8"))

    def do_POST(self) -> None:
        name = self._allowed()
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        try:
            most = self._page.service.largest(name)
        except KeyError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        if not length.isdecimal() or len(length) > 12 or "Transfer-Encoding" in self.headers:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return
        if int(length) > most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        data = self.rfile.read(int(length))
        try:
            answer = self._page.service.answer(name, data, unquote(self.path.partition("?")[2])[:200])
        except FlareError as error:
            told = {"error": error.message, "hint": error.hint}
            self._send(HTTPStatus.BAD_REQUEST, Answer(json.dumps(told).encode()))
        except Exception:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        else:
            self._send(HTTPStatus.OK, answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, without the library's page that names its version."""
        self._refuse(HTTPStatus(code))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: only the command line prints."""

    def _allowed(self) -> str | None:
        """The name that is asked for, of somebody who may ask; None after everybody else was refused."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        parts = self.path.partition("?")[0].split("/", 2)
        known = len(parts) == 3 and secrets.compare_digest(parts[1].encode(), self._page.key.encode())
        own = self._page.is_ours(host) and origin in (None, f"http://{host}")
        # A link elsewhere may lead here: what opens the page itself is looked at by its user alone.
        opens = self.command == "GET" and self.headers.get("Sec-Fetch-Dest") == "document"
        from_here = self.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
        if known and own and (from_here or opens):
            return parts[2]
        self._refuse(HTTPStatus.FORBIDDEN)
        return None

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True  # what came with it is not read
        self._send(status, Answer(status.phrase.encode(), "text/plain"))

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response_only(status)
        told = {"Content-Type": answer.kind, "Content-Length": str(len(answer.data)), **HEADERS, **(answer.told or {})}
        if self.close_connection:
            told["Connection"] = "close"
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.data)


def _listening(at: Listening) -> _Server:
    try:
        return _Server((at.host, FIRST_PORT if at.port is None else at.port))
    except (OSError, OverflowError) as error:
        if at.port is None and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return _Server((at.host, 0))
        raise FileError(
            f"can't listen on {at.host}, port {at.port or FIRST_PORT}: {error}",
            hint="choose another --port (0 for any that is free), and for --host an address of this computer",
        ) from error


def _own_names(host: str) -> Callable[[str], bool]:
    """Whether a Host header names this computer: by `localhost`, what --host says, or an address.

    No name that was made to lead here is any of these. The port may be another, that of a forward. Addresses of the
    network, and the computer's name there, are ours only where we listen for others.
    """
    for_all = not is_this_computer(host)
    names = {"localhost", host.lower(), *([socket.gethostname().lower()] if for_all else [])}

    def is_ours(header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname or ""
            return name in names or ipaddress.ip_address(name).is_loopback or for_all
        except ValueError:
            return False

    return is_ours


def is_this_computer(host: str) -> bool:
    """Whether nobody else can reach an address to listen on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
