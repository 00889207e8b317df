"""What a person sees when a command is done, and what a program sees."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flare_cli.apps.fit import FitRequest, FitResult
from flare_cli.cli.console import show_error
from flare_cli.cli.main import main
from flare_cli.errors import FlareError
from flare_cli.track.request import PreprocessRequest, PreprocessResult
from flare_cli.track.review.checks import Check


def fitted(request: FitRequest, progress: object, on_open: object) -> FitResult:
    return FitResult(
        avatar=request.run / "avatar.safetensors",
        track=None,
        config="default",
        device="cuda",
        training_frames=240,
        held_out_frames=60,
        seconds=216.234567,
        steps=2000,
        resumed=False,
        peak_gpu_memory_bytes=751619277,
        perceptual="off in the config",
        preview=request.run / "preview" / "final.png",
        notes=[],
    )


def preprocessed(request: PreprocessRequest, progress: object) -> PreprocessResult:
    return PreprocessResult(
        folder=request.out,
        frames=12,
        kept=12,
        excluded=[],
        median_error=0.0158,
        worst_error=0.02,
        focal=702.5,
        seconds={"landmarks": 1.25, "labels and preview": 75.4},
        checks=[
            Check(name="mouth", verdict="good", value=0.2, found="opens by 20%", wanted="12 %", advice=""),
            Check(name="blinks", verdict="limited", value=0.9, found="close to 90%", wanted="50 %", advice="shut them"),
            Check(name="turning", verdict="poor", value=2, found="2° in all", wanted="12°", advice="turn the head"),
        ],
        page=request.out / "preview" / "report.html",
    )


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Stdout and stderr of a command whose work is replaced by the results above."""
    monkeypatch.setattr("flare_cli.apps.fit.fit", fitted)
    monkeypatch.setattr("flare_cli.apps.preprocess.preprocess", preprocessed)

    def run(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["flare", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        assert not done.value.code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


def row(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_each_step_names_the_next(shown, tmp_path: Path):
    out, err = shown("preprocess", "me.mp4", "-o", "films/my self")
    assert err.splitlines()[-1] == "next: flare fit 'films/my self' -o 'runs/my self'"
    assert "next:" not in out
    assert shown("fit", "films/me")[1].splitlines()[-1] == "next: flare eval runs/me"
    assert shown("fit", "me", "-o", tmp_path)[1].splitlines()[-1] == f"next: flare eval {tmp_path}"


def test_programs_get_numbers_and_no_advice(shown):
    out, err = shown("fit", "me", "--json")
    assert json.loads(out)["peak_gpu_memory_bytes"] == 751619277
    assert json.loads(out)["seconds"] == 216.234567
    assert "next:" not in err
    assert "next:" not in shown("preprocess", "me.mp4", "-o", "me", "--json")[1]


def test_people_get_gibibytes_and_minutes(shown):
    out, _ = shown("fit", "me")
    assert row(out, "peak gpu memory") == "0.70 GiB"
    assert row(out, "time") == "3 min 36 s"
    out, _ = shown("preprocess", "me.mp4", "-o", "me")
    assert row(out, "time") == "landmarks 1.2 s, labels and preview 1 min 15 s"
    assert row(out, "warning") == "none"


def test_people_are_told_what_to_record_again_and_where_the_page_is(shown, tmp_path: Path):
    out, _ = shown("preprocess", "me.mp4", "-o", tmp_path / "a b")
    lines = out.splitlines()
    start = lines.index("what will be weak")
    assert [line.split() for line in lines[start + 1 :]] == [
        ["poor", "turning", "2°", "in", "all"],
        ["->", "turn", "the", "head"],
        ["limited", "blinks", "close", "to", "90%"],
        ["->", "shut", "them"],
        ["report", f"file://{tmp_path}/a%20b/preview/report.html"],
    ]
    assert json.loads(shown("preprocess", "me.mp4", "-o", "me", "--json")[0])["checks"][1]["advice"] == "shut them"


def test_a_fresh_fit_that_is_stopped_says_how_to_go_on(shown, monkeypatch: pytest.MonkeyPatch, capsys):
    def stopped(request: FitRequest, progress: object, on_open: object) -> FitResult:
        raise KeyboardInterrupt

    monkeypatch.setattr("flare_cli.apps.fit.fit", stopped)
    for options, words in ([], "the same command goes on"), (["--fresh"], "the same command without --fresh goes on"):
        monkeypatch.setattr(sys, "argv", ["flare", "fit", "me", *options])
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main()
        assert words in capsys.readouterr().err


def test_a_message_can_not_command_the_terminal(capsys):
    show_error(FlareError("a\x1b[2Jb\x07.png is no picture", hint="look at\x9b31m it"))
    said = capsys.readouterr().err
    assert not {"\x1b[2J", "\x07", "\x9b"} & {said[i : i + n] for i in range(len(said)) for n in (1, 4)}


def test_a_message_has_an_end():
    assert len(FlareError("x" * 10**6, hint="").message) < 1010
