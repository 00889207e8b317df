"""The recordings of a batch: named one by one, found in folders, or listed in a CSV or TOML file with settings."""

from __future__ import annotations

import csv
import glob
import io
import re
import types
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from flare_cli.config.schema import setting
from flare_cli.config.tables import read_tables, shown
from flare_cli.config.toml_text import NOT_TOML, parsed_toml
from flare_cli.errors import ConfigError, SubjectError
from flare_cli.subject.folder import PARAMETERS

RECORDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")  # what is taken of a folder; a named file may be any
MANIFESTS = (".csv", ".toml")
BETWEEN = ";"  # items of a list in a CSV cell
LONGEST_NAME = 100  # characters: it is the name of a folder and of files
NAME = re.compile(r"\w[\w .+-]*(?<![ .])")
_EXAMPLE = "a row is input[, name, config, set, …]; docs/formats.md has an example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recording as it was listed. None, or nothing, takes what was said for the whole batch."""

    input: str = setting("", "a video, or a subject folder that is tracked already")
    name: str | None = setting(None, "name of the subject, and of its folder in the output")
    test: str | None = setting(None, "another recording of the same person to score on, a video or a subject folder")
    config: str | None = setting(None, "preset or .toml file of the fit")
    set: tuple[str, ...] = setting((), "changes to the settings of the fit, table.key=value")
    head: str | None = setting(None, "head model")
    export: tuple[str, ...] | None = setting(None, "formats to export")
    size: int | None = setting(None, "edge of the pictures", unit="pixels", low=64, high=4096)
    fps: float | None = setting(None, "drop frames down to this rate", unit="1/s", low=0.1, high=1000)
    max_frames: int | None = setting(None, "stop after so many frames", low=1, high=10**9)
    face: int | None = setting(None, "which of several faces, 1 is the largest", low=1, high=100)
    parser: str | None = setting(None, "face-parsing network for the labels, a file")


KEYS = tuple(field.name for field in fields(Entry))
PATHS = ("input", "test", "parser")  # keys of files and folders


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of a CSV manifest, as if it were a TOML table."""

    subject: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    """A TOML manifest."""

    subject: tuple[Entry, ...] = ()


def find_recordings(inputs: Sequence[str]) -> list[Entry]:
    """The recordings that `inputs` mean, in order, each with a name of its own.

    An input is a video, a subject folder, a folder of these, a pattern for these, or a manifest. Raises
    `ConfigError` for what is wrong in a manifest, with file, row and key; `SubjectError` for names that are no names
    or that two have, and where there is nothing.
    """
    entries = [_named(entry) for text in inputs for entry in _entries(text)]
    if not entries:
        raise SubjectError("there are no recordings", hint="name videos, subject folders, a folder of these or a list")
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(str(entry.name).casefold(), entry)  # Windows and macOS don't tell A from a
        if other is not entry:
            raise SubjectError(
                f"two subjects are called {entry.name!r}: {other.input} and {entry.input}",
                hint="rename one of them, or list them in a manifest and give each a name",
            )
    return entries


def _entries(text: str) -> list[Entry]:
    path = Path(text)
    if path.suffix.lower() in MANIFESTS:
        return _read_manifest(path)
    if path.exists():
        return [Entry(input=str(found)) for found in _inside(path)]
    matches = sorted(glob.glob(text, recursive=True))
    if not matches:
        raise SubjectError(f"{text} is not there", hint="check the path; quote a pattern, or let the shell expand it")
    return [Entry(input=str(found)) for match in matches for found in _inside(Path(match))]


def _inside(path: Path) -> list[Path]:
    """A file or a subject folder itself, of another folder the recordings in it."""
    if path.is_file() or is_subject(path):
        return [path]
    found = [item for item in sorted(path.iterdir()) if item.suffix.lower() in RECORDINGS or is_subject(item)]
    if not found:
        raise SubjectError(
            f"{path} holds no recordings ({', '.join(RECORDINGS)}) and no subject folders", hint="check the path"
        )
    return found


def is_subject(path: Path) -> bool:
    """Whether a folder is a subject, tracked already."""
    return (path / PARAMETERS).is_file()


def _named(entry: Entry) -> Entry:
    """The entry with a name: its own, or what its input's makes."""
    if entry.name is not None:
        name = unicodedata.normalize("NFC", entry.name)  # macOS writes accents as letters of their own
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise SubjectError(
                f"{shown(name)} can't be the name of a subject",
                hint=f"use letters, digits and . _ + - between, {LONGEST_NAME} at most: a folder gets this name",
            )
        return replace(entry, name=name)
    path = Path(entry.input)
    stem = path.resolve().name if path.is_dir() else path.stem
    plain = re.sub(r"[^\w .+-]", "_", unicodedata.normalize("NFC", stem))[:LONGEST_NAME].strip(" .+-")
    return replace(entry, name=plain or "_")


def _read_manifest(path: Path) -> list[Entry]:
    """The entries of a CSV or TOML file; their paths are seen from its folder."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="check the path") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable text: {error}", hint="save it as UTF-8") from error
    if path.suffix.lower() == ".toml":
        entries = read_tables(_Manifest, _toml(text, path), path.name, text=text).subject
        places = [f"{path.name} [[subject]] {i}" for i in range(1, len(entries) + 1)]
    else:
        numbered = list(_csv_rows(text, path))
        places = [f"{path.name}:{line}" for line, _ in numbered]
        entries = [
            read_tables(_Row, {"subject": row}, place).subject for place, (_, row) in zip(places, numbered, strict=True)
        ]
    return [_placed(entry, path, place) for entry, place in zip(entries, places, strict=True)]


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return parsed_toml(text)
    except NOT_TOML as error:
        raise ConfigError(f"{path} is not readable TOML: {error}", hint=_EXAMPLE) from error


def _placed(entry: Entry, manifest: Path, place: str) -> Entry:
    """The entry with paths that hold everywhere."""
    for key in (*PATHS, "config", "name"):
        if "\0" in (getattr(entry, key) or "") or getattr(entry, key) == "":
            raise ConfigError(f"{place} {key}: is empty, or no path", hint=_EXAMPLE)
    folder = manifest.parent.resolve()
    for key in PATHS:
        try:
            is_subject(folder / (getattr(entry, key) or ""))
        except OSError as error:  # longer than a path may be, or in a folder that is not to be read
            raise ConfigError(f"{place} {key}: {(error.strerror or str(error)).lower()}", hint=_EXAMPLE) from error
    config = str(folder / entry.config) if entry.config is not None and entry.config.endswith(".toml") else entry.config
    return replace(
        entry,
        config=config,
        **{key: str(folder / path) for key in PATHS if (path := getattr(entry, key)) is not None},
    )


def _csv_rows(text: str, path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Line number and filled cells, typed, of each row below the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path.name}:{reader.line_num}"
            if header is None:
                header = _header(cells, where)
                continue
            if len(cells) > len(header):
                raise ConfigError(f"{where}: {len(cells)} cells, the header has {len(header)}", hint=_EXAMPLE)
            filled = zip(header, cells, strict=False)
            yield reader.line_num, {key: _typed(key, cell.strip()) for key, cell in filled if cell.strip()}
    except csv.Error as error:
        raise ConfigError(f"{path.name}:{reader.line_num}: {error}", hint=_EXAMPLE) from error


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    doubled = next((key for key in header if header.count(key) > 1), None)
    if doubled is not None:
        raise ConfigError(f"{where} {shown(doubled)}: stands twice in the header", hint=_EXAMPLE)
    if "input" not in header:
        raise ConfigError(f"{where} input: is missing in the header", hint=f"columns are {', '.join(KEYS)}")
    return header


def _typed(key: str, cell: str) -> Any:
    """A cell as the value that TOML would have: what does not become the key's type stays a text, and is refused."""
    kinds = _kinds(get_type_hints(Entry).get(key, str))
    if any(get_origin(kind) is tuple for kind in kinds):
        return [part.strip() for part in cell.split(BETWEEN) if part.strip()]
    number = next((kind for kind in kinds if kind in (int, float)), None)
    if number is None:
        return cell
    try:
        return number(cell)
    except ValueError:
        return cell


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
