"""Tables of plain values, as TOML and JSON give them, into frozen dataclasses; every mistake has its place."""

from __future__ import annotations

import difflib
import re
import reprlib
import sys
import types
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flare_cli.errors import ConfigError, FlareError

T = TypeVar("T")


def read_tables(
    cls: type[T],
    tables: Any,
    source: str,
    *,
    text: str = "",
    error: type[FlareError] = ConfigError,
    hint: str | None = None,
) -> T:
    """The dataclass `cls` of dataclasses that `tables` hold: types and bounds of fields are checked, all keys known.

    `source` and, where it is known, its `text` say where a mistake is. Raises `error`, with `hint` in place of what
    somebody who wrote the tables by hand would do.
    """
    return _Reader(source, text.splitlines(), error, hint).read(cls, tables)


def bounded(help_text: str, *, low: float, high: float) -> Any:
    """A dataclass field without default, for a number between inclusive bounds."""
    return field(metadata={"help": help_text, "low": low, "high": high})


def shown(value: object) -> str:
    """A value that somebody typed or a file holds, for a message: not all of it, however long or deep it is."""
    return _SHORT.repr(value)


_type_hints = cache(get_type_hints)  # a file may hold thousands of the same table
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns tables into dataclasses, and knows how to say where a mistake is."""

    source: str
    lines: list[str]
    error: type[FlareError]
    hint: str | None

    def read(self, cls: type[T], tables: Any) -> T:
        return self._table(cls, tables, table="", index=0)

    def _table(self, cls: type, values: Any, *, table: str, index: int) -> Any:
        if not isinstance(values, dict):
            raise self._mistake(table, "", index, "must be a table", hint=f"write [{table}] and its keys below it")
        hints, known = _type_hints(cls), {f.name: f for f in fields(cls)}
        made: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise self._unknown(table, key, index, list(known))
            made[key] = self._value(hints[key], value, known[key].metadata, table=table, key=key, index=index)
        for key, wanted in known.items():
            if key not in made and wanted.default is MISSING and wanted.default_factory is MISSING:
                raise self._mistake(table, key, index, "is missing", hint=wanted.metadata.get("help", "write it"))
        return cls(**made)

    def _value(self, kind: Any, value: Any, metadata: Any, *, table: str, key: str, index: int) -> Any:
        if is_dataclass(kind) and isinstance(kind, type):
            return self._table(kind, value, table=key, index=0)
        if get_origin(kind) is tuple and is_dataclass(get_args(kind)[0]):
            if not isinstance(value, list) or not value:
                raise self._mistake(
                    key, "", 0, "must be a list of tables", hint=f"write [[{key}]] and its keys below it"
                )
            return tuple(self._table(get_args(kind)[0], item, table=key, index=i) for i, item in enumerate(value))
        hint = metadata.get("help", f"give {_describe(kind)}")
        checked = _matches(kind, value)
        if checked is _OTHER:
            raise self._mistake(table, key, index, f"{shown(value)} is not {_describe(kind)}", hint=hint)
        low, high = metadata.get("low"), metadata.get("high")
        if isinstance(checked, int | float) and not isinstance(checked, bool):
            below, above = low is not None and not checked >= low, high is not None and not checked <= high
            if below or above:
                raise self._mistake(table, key, index, f"{shown(value)} is outside {low} to {high}", hint=hint)
        return checked

    def _unknown(self, table: str, key: str, index: int, known: list[str]) -> FlareError:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return self._mistake(table, key, index, "unknown key" if table else "unknown table", hint=hint)

    def _mistake(self, table: str, key: str, index: int, what: str, *, hint: str) -> FlareError:
        line = self._line(table, key, index)
        where = f"{self.source}:{line}" if line else self.source
        place = f" [{table}]" if table else ""
        named = f" {key[:60]}" if key else ""
        return self.error(f"{where}{place}{named}: {what}", hint=self.hint or hint)

    def _line(self, table: str, key: str, index: int) -> int | None:
        """The line of a key in the `index`-th table of that name, or of the table; None if it came from --set."""
        header = re.compile(rf"\s*\[\[?\s*{re.escape(table or key)}\s*\]\]?")
        seen, inside = -1, False
        for number, line in enumerate(self.lines, 1):
            if re.match(r"\s*\[", line):
                seen += bool(header.match(line))
                inside = bool(header.match(line)) and seen == index
                if inside and (not key or not table):
                    return number
            elif inside and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return number
        return None


_OTHER: Any = object()  # what `_matches` gives of a value of another type


def _matches(kind: Any, value: Any) -> Any:
    """The value as `kind`, or `_OTHER`. Lists and dictionaries are not looked into, tuples are."""
    origin = get_origin(kind)
    if origin is Literal:
        return value if value in get_args(kind) else _OTHER
    if origin is tuple and isinstance(value, list | tuple):
        items = [_matches(get_args(kind)[0], item) for item in value]
        return _OTHER if any(item is _OTHER for item in items) else tuple(items)
    if origin in (Union, types.UnionType):
        return next((m for m in (_matches(k, value) for k in get_args(kind)) if m is not _OTHER), _OTHER)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) <= sys.float_info.max else _OTHER  # NaN is not
    if kind is int and type(value) is int:
        return value if abs(value) < 2**63 else _OTHER
    plain = kind in (str, bool, types.NoneType) and type(value) is kind
    return value if plain or (origin in (list, dict) and isinstance(value, origin)) else _OTHER


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list whose items are {_describe(get_args(kind)[0])}"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in get_args(kind))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false", types.NoneType: "null"}.get(
        kind, str(kind)
    )
