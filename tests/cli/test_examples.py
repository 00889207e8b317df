"""Every command's help ends with examples, and the program takes them."""

import re
import shlex

import pytest
import typer

from flare_cli.cli.main import app

ROOT = typer.main.get_command(app)


def commands(group=ROOT, words=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()])
def test_a_command_has_examples_that_it_takes(words, command):
    lines = re.findall(r"flare .+", command.epilog or "")
    mine = [line for line in lines if shlex.split(line)[1 : 1 + len(words)] == list(words)]
    assert mine
    for line in lines:
        called, at = ROOT, 1
        arguments = shlex.split(line)
        while hasattr(called, "commands"):
            called, at = called.commands[arguments[at]], at + 1
        called.make_context("flare", arguments[at:])  # complains of what it does not know
