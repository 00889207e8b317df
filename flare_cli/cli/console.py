"""What a person sees: results on stdout, progress and errors on stderr. The only module that prints."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from flare_cli.errors import FlareError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
MARK_STYLES = {"ok": "green", "limited": "yellow", "poor": "bold red", "MISSING": "bold red"}


@contextmanager
def progress_bars(starts_again: str | None = None) -> Generator[Callable[[str, int, int], None]]:
    """A callback `(what, done, total)` that shows one bar per stage; a text after ": " or "," may change as it goes.

    `starts_again` is the option, if there is one, that keeps the command from going on where it was stopped.
    """
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        stage = what.split(",")[0]
        if stage not in tasks:
            tasks[stage] = bars.add_task(what, total=total)
        bars.update(tasks[stage], completed=done, total=total, description=what)

    try:
        with bars:
            yield show
    except KeyboardInterrupt:
        note(f"stopped; the same command {f'without {starts_again} ' if starts_again else ''}goes on where it was")
        raise


@contextmanager
def live_board() -> Generator[Callable[[Any], None]]:
    """A callback that shows how far a batch is (`apps/batch/board.py`): a table that changes, on a terminal."""
    with Live(console=err, refresh_per_second=4, transient=False) as live:
        shown = False

        def show(board: Any) -> None:
            nonlocal shown
            shown = True
            live.update(_board_table(board))

        try:
            yield show
        except KeyboardInterrupt:
            if shown:
                note("stopped; the same command goes on where it was")
            raise


def _board_table(board: Any) -> Table:
    left = board.left()
    remaining = "" if left is None else f", about {_clock(left)} left"
    header = ("", "waiting", "running", "done", "there before", "failed", "left out", "seconds each")
    table = Table(*header, title=f"{_clock(board.elapsed())}{remaining}", title_justify="left", box=None)
    for line in board.lines():
        counts = (line.waiting, line.running, line.done, line.kept, line.failed, line.skipped)
        table.add_row(line.stage, *map(str, counts), "" if line.seconds is None else f"{line.seconds:.1f}")
    return table


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def show_error(error: FlareError) -> None:
    """One message and its hint."""
    err.print(Text.assemble(("error: ", "bold red"), _printable(error.message)))
    err.print(Text.assemble(("hint:  ", "bold"), _printable(error.hint)))


def _printable(text: str) -> str:
    """A text without what would move the cursor or change colours: it may quote a file, or its name."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def show_facts(title: str, facts: Sequence[tuple[str, object]]) -> None:
    """Names and values in two columns."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in facts:
        table.add_row(Text(name, style="bold"), Text(str(value), overflow="fold"))
    out.print(table)


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with a header."""
    table = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell), overflow="fold") for cell in row))
    out.print(table)


def show_checklist(items: Sequence[tuple[str, str, str, str]]) -> None:
    """Mark, name, state and advice of each item. Advice stays on one line, so that a command in it can be copied."""
    width = max(len(name) for _, name, _, _ in items)
    for mark, name, state, advice in items:
        line = Text.assemble((f"{mark:<8}", MARK_STYLES.get(mark, "")), f" {name:<{width}}  {state}")
        out.print(line, soft_wrap=True)
        if advice:
            out.print(Text(f"{'':<8} {'':<{width}}  -> {advice}"), soft_wrap=True)


def show_heading(text: str) -> None:
    """A line above what follows."""
    out.print(Text(text, style="italic"))


def show_link(name: str, page: Path) -> None:
    """A page on this disk, as an address on one line that terminals and browsers open."""
    out.print(Text.assemble((f"{name} ", "bold"), page.resolve().as_uri()), soft_wrap=True)


def show_text(text: str) -> None:
    """Text as it is, for example Markdown."""
    sys.stdout.write(text + "\n")


def show_json(value: dict[str, Any]) -> None:
    """The result for programs: one JSON object."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_next(words: Sequence[object]) -> None:
    """The command that usually comes next, on one line, so that it can be copied."""
    err.print(Text(f"next: {shlex.join(['flare', *map(str, words)])}"), soft_wrap=True)


def note(text: str) -> None:
    """A line for people, on stderr."""
    err.print(Text(text))
