import subprocess
import sys

from typer.testing import CliRunner

from flare_cli.cli.main import app

COMMANDS = (
    "preprocess", "convert", "fit", "eval", "relight", "animate", "export", "batch", "demo", "synth", "bench", "doctor",
)  # fmt: skip


def test_help_lists_every_command():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output


def test_every_command_has_help():
    for command in COMMANDS:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0, command


def test_help_does_not_load_torch():
    code = "import sys; from flare_cli.cli.main import app; print('torch' in sys.modules, 'warp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_wrong_option_exits_with_2():
    assert CliRunner().invoke(app, ["fit", "--no-such-option"]).exit_code == 2
