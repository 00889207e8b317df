import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from flare_cli.data.folder_lock import alone_in
from flare_cli.errors import FolderInUseError

HOLD = """
import sys, time
from pathlib import Path
from flare_cli.data.folder_lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Generator[subprocess.Popen[str]]:
    """Another process that is in the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_one_is_told_who_is_there(other: subprocess.Popen[str], tmp_path: Path):
    with pytest.raises(FolderInUseError, match=rf"process {other.pid} on \S+, since \d{{4}}-"), alone_in(tmp_path):
        raise AssertionError("both are in")


def test_who_waits_gets_in_when_the_other_one_is_gone(other: subprocess.Popen[str], tmp_path: Path):
    threading.Timer(0.3, other.kill).start()
    started = time.monotonic()
    with alone_in(tmp_path, wait=30):
        assert 0.2 < time.monotonic() - started < 20


def test_a_holder_that_was_killed_is_no_obstacle(other: subprocess.Popen[str], tmp_path: Path):
    other.kill()
    other.wait()
    with alone_in(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".holder").read_text()
    assert not (tmp_path / ".holder").exists()


def test_the_folder_is_free_after_an_error(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path / "new"):
        raise ZeroDivisionError
    with alone_in(tmp_path / "new"):
        pass
