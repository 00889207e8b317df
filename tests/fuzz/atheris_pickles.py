"""The pickle machine under coverage-guided fuzzing: `make fuzz` runs it where `atheris` is installed (Linux, macOS).

python tests/fuzz/atheris_pickles.py -max_total_time=600        libFuzzer's options; without an end of its own

Whatever the bytes are, reading them ends in plain values or in `PickleError` within 20 s and 2 GiB, and meanwhile
nothing is imported, compiled, executed, opened or started (audit events of Python). It starts from the plain and the
hostile pickles of the tests.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import atheris  # noqa: E402
from support import pickles  # noqa: E402

with atheris.instrument_imports(include=["flare_cli.data.pickle"]):
    from flare_cli.data.pickle import machine, torch_files

from flare_cli.errors import PickleError  # noqa: E402

RUNS_SOMETHING = (
    "import",
    "exec",
    "compile",
    "open",
    "ctypes.",
    "os.",
    "subprocess.",
    "socket.",
    "pickle.",
    "marshal.",
)
PATH = Path("fuzzed")
watched = False


class CodeRunError(BaseException):
    """Something ran: no `Exception`, so that nothing may catch it."""


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watched and event.startswith(RUNS_SOMETHING):
        raise CodeRunError(f"{event} {arguments!r:.200}")


def read(data: bytes) -> None:
    for loads in (machine.loads, torch_files.loads):
        with suppress(PickleError):
            loads(data, PATH)


def check(data: bytes) -> None:
    global watched
    watched = True
    try:
        read(data)
    finally:
        watched = False


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seeds = {f"plain {protocol}": pickles.pickle.dumps(pickles.PLAIN, protocol) for protocol in range(6)}
        for name, data in (seeds | pickles.hostile(f"{folder}/canary")).items():
            read(data)  # loads what numpy and codecs load when they are needed, before that is watched
            if len(data) < 4096:
                (Path(folder) / f"{name.replace('/', ' ')}.pkl").write_bytes(data)
        sys.addaudithook(watch)
        limits = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], folder], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
