"""What a command shows of its result: names and values for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flare_cli.cli import console


def show(title: str, result: dict[str, Any], as_json: bool, *, then: Sequence[object] = ()) -> None:
    """The result; for people also the words of the command that usually comes next."""
    if as_json:
        console.show_json(result)
        return
    console.show_facts(title, [_fact(name, value) for name, value in result.items()])
    if then:
        console.show_next(then)


def show_recording(result: Any) -> None:
    """What became of a recording (a `PreprocessResult`), what it lacks and how to record again, and the page of it."""
    from flare_cli.track.review.checks import weak_first

    values = asdict(result)
    del values["checks"], values["page"]
    console.show_facts(f"subject {result.folder}", [_fact(name, value) for name, value in values.items()])
    weak = weak_first(result.checks)
    if weak:
        console.show_heading("what will be weak")
        console.show_checklist([(check.verdict, check.name, check.found, check.advice) for check in weak])
    if result.page is not None:
        console.show_link("report", result.page)


def _fact(name: str, value: object) -> tuple[str, str]:
    """A field of a result as a name and a text for people."""
    label = name.removesuffix("_bytes").replace("_", " ")
    if name.endswith("_bytes") and isinstance(value, int):
        return label, f"{value / 2**30:.2f} GiB"
    if name == "seconds" and isinstance(value, float):
        return "time", _duration(value)
    if name == "seconds" and isinstance(value, dict):
        return "time", ", ".join(f"{part} {_duration(seconds)}" for part, seconds in value.items())
    return label, _readable(value)


def _readable(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_readable(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_readable(v) for v in value[:8])
        return shown + (f", … ({len(value)} in all)" if len(value) > 8 else "") if value else "none"
    return str(value)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{seconds:.1f} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def number(value: float | None) -> str:
    """A number to four digits, for people."""
    return "n/a" if value is None else f"{value:.4g}"
