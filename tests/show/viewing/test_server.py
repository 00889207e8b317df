import http.client
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from flare_cli.errors import FlareError
from flare_cli.show.viewing import server
from flare_cli.show.viewing.address import Listening
from flare_cli.show.viewing.server import Answer, PageServer, is_this_computer

FREE = Listening(port=0)


class Echo:
    """Answers `say` with what it was sent."""

    def largest(self, name: str) -> int:
        return {"say": 100, "fail": 10, "break": 10}[name]

    def answer(self, name: str, data: bytes, label: str) -> Answer:
        if name == "fail":
            raise FlareError("no", hint="yes")
        if name == "break":
            raise RuntimeError
        return Answer(data + label.encode(), "text/plain", {"Flare-Look": "{}"})


@pytest.fixture
def page() -> Iterator[PageServer]:
    with PageServer(Echo(), FREE) as made:
        yield made


class Asker:
    """A client that can lie about where it comes from."""

    def __init__(self, page: PageServer) -> None:
        parts = urlsplit(page.address.url)
        self.host, self.port, self.key = parts.hostname, parts.port, parts.path.strip("/")

    def ask(self, path: str, data: bytes | None = None, method: str | None = None, **headers: str):
        """Status, headers and body; `path` begins after the key if it does not begin with a slash."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        method = method or ("GET" if data is None else "POST")
        path = path if path.startswith("/") else f"/{self.key}/{path}"
        connection.putrequest(method, path, skip_host="Host" in headers)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(data))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(data)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), body


@pytest.fixture
def asker(page: PageServer) -> Asker:
    return Asker(page)


def test_the_page_is_all_ours_and_asks_nobody_else(asker: Asker):
    for name in ("", "panel.css", "panel.js", "live.js"):
        status, headers, body = asker.ask(name)
        assert status == 200
        assert len(body) > 500
        assert b"http" not in body.replace(b"http-equiv", b"")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not any(name.lower().startswith("access-control") or name == "Server" for name in headers)


def test_who_has_the_address_is_answered(asker: Asker):
    status, headers, body = asker.ask("say?a%20room", b"hello ")
    assert (status, body) == (200, b"hello a room")
    assert headers["Flare-Look"] == "{}"
    for host in ("localhost:9000", "127.0.0.1", "[::1]:80"):  # the other end of a forward
        assert asker.ask("say", b"", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("path", ["/", "//", "/x/", "/favicon.ico", "/KEY", "/x/KEY/say", "*", "/%00/say"])
def test_without_the_key_nothing_is_told(asker: Asker, path: str):
    path = path.replace("KEY", asker.key)
    for data in (None, b"a"):
        status, _, body = asker.ask(path if path.startswith("/") else f"/{path}", data)
        assert (status, body) == (403, b"Forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "evil.example:8350"}, {"Host": ""}, {"Host": "192.168.1.7:8350"},
        {"Host": "localhost.evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": "["},
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)  # fmt: skip
def test_pages_of_others_are_refused_even_with_the_key(asker: Asker, headers: dict[str, str]):
    for data in (None, b"a"):
        status, _, body = asker.ask("" if data is None else "say", data, **headers)
        assert (status, body) == (403, b"Forbidden")


def test_a_link_elsewhere_may_open_the_page_and_nothing_else(asker: Asker):
    for site in ("cross-site", "same-site"):
        assert asker.ask("", Sec_Fetch_Site=site, Sec_Fetch_Dest="document")[0] == 200
        assert asker.ask("", Sec_Fetch_Site=site, Sec_Fetch_Dest="iframe")[0] == 403
        assert asker.ask("live.js", Sec_Fetch_Site=site, Sec_Fetch_Dest="script")[0] == 403
        assert asker.ask("say", b"", Sec_Fetch_Site=site, Sec_Fetch_Dest="document")[0] == 403


def test_only_what_there_is_can_be_asked_for(asker: Asker):
    for name in ("x", "../live.js", "..%2flive.js", "viewer.html", "/etc/passwd", "say"):
        assert asker.ask(f"/{asker.key}/{name}")[0] in (403, 404)
    for name in ("x", "live.js", "", "say/more"):
        assert asker.ask(name, b"")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"):
        assert asker.ask("say", b"", method=method)[0] in (403, 501)


@pytest.mark.parametrize(
    "line", [b"GET * HTTP/1.1", b"GET //[ HTTP/1.1", b"GET", b"", b"\xff\xfe / HTTP/1.1", b"GET x HTTP/1.1"]
)
def test_what_is_no_request_gets_no_answer_but_a_refusal(asker: Asker, line: bytes):
    with socket.create_connection((asker.host, asker.port), timeout=10) as connection:
        connection.sendall(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer in (b"", b"Bad Request") or answer.split()[1] in (b"400", b"403", b"501")  # HTTP/0.9 has no status
    assert b"Python" not in answer
    assert asker.ask("say", b"on")[2] == b"on"


def test_sizes_are_checked_before_anything_is_read(asker: Asker):
    assert asker.ask("say", b"x" * 101)[0] == 413
    assert asker.ask("say", b"", Content_Length=str(10**11))[0] == 413
    for length in ("-1", "1e3", "９", "", "9" * 50):
        assert asker.ask("say", b"", Content_Length=length.encode().decode("latin-1"))[0] == 411
    assert asker.ask("say", b"", Transfer_Encoding="chunked")[0] == 411


def test_what_fails_is_told_and_the_server_goes_on(asker: Asker):
    status, _, body = asker.ask("fail", b"")
    assert (status, body) == (400, b'{"error": "no", "hint": "yes"}')
    status, _, body = asker.ask("break", b"")
    assert (status, body) == (500, b"Internal Server Error")
    assert asker.ask("say", b"on")[2] == b"on"


def network_address() -> str:
    """An address of this computer that others can reach, found without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of the block that is for documentation
        except OSError:
            pytest.skip("this computer is in no network")
        return probe.getsockname()[0]


def test_a_stranger_on_the_network_can_not_even_connect(asker: Asker):
    address = network_address()
    if is_this_computer(address):
        pytest.skip("this computer is in no network")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, asker.port), timeout=5)


def test_who_listens_for_others_still_asks_for_the_key():
    address = network_address()
    with PageServer(Echo(), Listening(host="0.0.0.0", port=0)) as page:
        asker = Asker(page)
        assert asker.host == socket.gethostname().lower()
        asker.host = address
        assert asker.ask("say", b"in", Host=f"{socket.gethostname()}:1")[0] == 200
        assert asker.ask("say", b"in", Host=f"{address}:{asker.port}")[2] == b"in"
        assert asker.ask("/x/say", b"in")[0] == 403
        assert asker.ask("say", b"in", Host="evil.example")[0] == 403


def test_a_port_that_is_taken(page: PageServer, monkeypatch: pytest.MonkeyPatch):
    taken = urlsplit(page.address.url).port
    with pytest.raises(FlareError, match=str(taken)) as caught:
        PageServer(Echo(), Listening(port=taken))
    assert "--port" in caught.value.hint
    monkeypatch.setattr(server, "FIRST_PORT", taken)
    with PageServer(Echo(), Listening()) as other:  # nobody asked for that very port
        assert urlsplit(other.address.url).port != taken
    with pytest.raises(FlareError, match="not-a-host"):
        PageServer(Echo(), Listening(host="not-a-host.invalid", port=0))


def test_the_line_for_ssh_leads_to_the_same_url(page: PageServer):
    port = urlsplit(page.address.url).port
    assert page.address.ssh.startswith(f"ssh -L {port}:127.0.0.1:{port} ")


def test_keys_are_not_used_twice(page: PageServer):
    with PageServer(Echo(), FREE) as other:
        keys = {urlsplit(one.address.url).path for one in (page, other)}
    assert len(keys) == 2
    assert all(len(key) >= 16 for key in keys)


def test_many_who_say_nothing_do_not_keep_others_out_for_ever(page: PageServer, asker: Asker):
    idle = [socket.create_connection((asker.host, asker.port)) for _ in range(server.MOST_CONNECTIONS)]
    time.sleep(0.2)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        asker.ask("say", b"")
    for one in idle:
        one.close()
    time.sleep(0.3)
    assert asker.ask("say", b"back")[2] == b"back"
    assert threading.active_count() < 30
