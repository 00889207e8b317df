import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.tiny_batches import SETTINGS, avatar_in
from typer.testing import CliRunner

from flare_cli.cli.main import app
from flare_cli.synthetic.recording import make_synthetic_subject

FITTING = ("--stages", "fit", "--config", "demo", "--device", "cpu", "--jobs", "1",
           *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


def flare_batch(*words: object):
    return CliRunner().invoke(app, ["batch", *map(str, words)])


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic_subject(tmp_path_factory.mktemp("person") / "me", frames=6, size=48, samples=1).folder


def test_a_command_loads_neither_torch_nor_ray_to_help():
    code = (
        "import sys; from typer.testing import CliRunner; from flare_cli.cli.main import app;"
        " print(CliRunner().invoke(app, ['batch', '--help']).output); print({'torch', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "flare batch recordings/ -o people" in done.stdout
    assert done.stdout.rstrip().endswith("set()")


def test_a_failure_ends_with_1_and_its_sentence(person: Path, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    words = [*FITTING[2:], "--stages", "preprocess,fit"]
    done = flare_batch(person, tmp_path / "broken.mp4", "-o", tmp_path / "out", *words)
    assert done.exit_code == 1
    assert "1 of 2 subjects" in done.stdout
    assert "preprocess failed" in done.stdout
    assert "Traceback" not in done.output
    assert flare_batch(person, "-o", tmp_path / "out", *words).exit_code == 0


def test_a_dry_run_says_what_is_left(person: Path, tmp_path: Path):
    done = flare_batch(person, "-o", tmp_path / "out", *FITTING, "--dry-run", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["planned"] == {"me": {"fit": "to do"}}
    assert "to do" in flare_batch(person, "-o", tmp_path / "out", *FITTING, "--dry-run").stdout


@pytest.mark.parametrize("words", [["--only", "a"], ["--jobs", "0"], ["--retries", "-1"]])
def test_wrong_options_exit_with_2(words: list[str], person: Path, tmp_path: Path):
    assert flare_batch(person, "-o", tmp_path / "out", *words).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_slurm_is_told_what_to_do_next(person: Path, tmp_path: Path):
    parser = tmp_path / "own.onnx"
    done = flare_batch(person, "-o", tmp_path / "out", *FITTING, "--face", 2, "--parser", parser, "--slurm")
    assert done.exit_code == 0
    script = tmp_path / "out" / "slurm.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "--only" in script.read_text()
    assert "--face 2" in script.read_text()
    assert f"--parser {parser}" in script.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_goes_on_where_it_was(how: signal.Signals, person: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = [sys.executable, "-m", "flare_cli.cli.main", "batch", person, "-o", out, *FITTING]
    process = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True)
    while not (out / "me" / "run" / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode not in (0, -how)
    assert "goes on where it was" in said
    assert "Traceback" not in said
    assert flare_batch(person, "-o", out, *FITTING).exit_code == 0
    assert flare_batch(person, "-o", tmp_path / "alone", *FITTING).exit_code == 0
    assert avatar_in(out / "me" / "run") == avatar_in(tmp_path / "alone" / "me" / "run")
