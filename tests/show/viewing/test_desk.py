import threading
import time

import pytest

from flare_cli.errors import EnvmapError, FlareError
from flare_cli.show.viewing.desk import Desk


def asked(desk: Desk, work, out: list) -> threading.Thread:
    def ask():
        try:
            out.append(desk.ask(work))
        except FlareError as error:
            out.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


def test_work_is_done_by_whoever_attends():
    desk, out = Desk(), []
    thread = asked(desk, threading.get_ident, out)
    desk.attend(5)
    thread.join(5)
    assert out == [threading.get_ident()]


def test_all_that_waits_is_done_and_then_nothing_is_waited_for():
    desk, out = Desk(), []
    threads = [asked(desk, int, out) for _ in range(5)]
    time.sleep(0.1)
    start = time.monotonic()
    desk.attend(60)
    assert time.monotonic() - start < 5
    for thread in threads:
        thread.join(5)
    assert out == [0] * 5


def test_attending_for_no_time_does_not_wait():
    start = time.monotonic()
    for _ in range(1000):
        Desk().attend(0)
    assert time.monotonic() - start < 1


def test_an_error_goes_to_whoever_asked():
    desk, out = Desk(), []

    def fail():
        raise EnvmapError("dark", hint="lamp")

    thread = asked(desk, fail, out)
    desk.attend(5)
    thread.join(5)
    assert isinstance(out[0], EnvmapError)


def test_after_the_end_everything_is_refused():
    desk, out = Desk(), []
    before = asked(desk, int, out)
    time.sleep(0.1)
    desk.close()
    before.join(5)
    assert isinstance(out[0], FlareError)
    with pytest.raises(FlareError, match="ended"):
        desk.ask(int)
