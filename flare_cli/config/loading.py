"""TOML to `Config`: presets by name, files by path, `--set table.key=value`; every mistake is named with its line."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flare_cli.config.schema import Config
from flare_cli.config.shipped import shipped_folder
from flare_cli.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

T = TypeVar("T")

PRESETS = "configs"  # the folder of a fit's settings


def preset_names(folder: str = PRESETS) -> list[str]:
    """Names that `load_config` takes besides paths, or what else comes with the program in `folder`."""
    return sorted(path.stem for path in shipped_folder(folder).glob("*.toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a preset or a TOML file and apply `table.key=value` overrides (values as in TOML; bare words are texts).

    Raises `ConfigError` naming file, line, table and key.
    """
    return load_settings(Config, name_or_path, overrides, folder=PRESETS, kind="config")


def load_settings(cls: type[T], name_or_path: str, overrides: Sequence[str], *, folder: str, kind: str) -> T:
    """Read any dataclass of dataclasses (one a table, fields by `schema.setting`) as `load_config` reads a `Config`.

    Names stand for files in the shipped `folder`; `kind` is what messages call them. Raises `ConfigError`.
    """
    path = Path(name_or_path)
    if not name_or_path.endswith(".toml"):
        path = shipped_folder(folder) / f"{name_or_path}.toml"
        if not path.is_file():
            raise ConfigError(
                f"there is no {kind} called {name_or_path!r}",
                hint=f"use one of {', '.join(preset_names(folder))}, or the path of a .toml file",
            )
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint=f"shipped: {', '.join(preset_names(folder))}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} is not readable TOML: {error}",
            hint=f"see {folder}/{preset_names(folder)[0]}.toml for an example",
        ) from error
    for override in overrides:
        _apply_override(tables, override)
    return _Reader(path.name, text).settings(cls, tables)


def config_from_dict(tables: dict[str, Any], source: str) -> Config:
    """Check a plain dictionary (as `config_to_dict` makes it, or out of an avatar file) and turn it into a `Config`."""
    return _Reader(source, "").settings(Config, tables)


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as tables of plain values, ready for TOML or JSON."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _apply_override(tables: dict[str, Any], override: str) -> None:
    match = re.fullmatch(r"(\w+)(?:\.(\d+))?\.(\w+)=(.*)", override.strip(), re.DOTALL)
    if match is None:
        raise ConfigError(
            f"--set {override!r} is not table.key=value",
            hint="for example: --set data.size=256, or --set stage.0.steps=500 for the first stage",
        )
    table, index, key, raw = match.groups()
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    if table != "stage":
        tables.setdefault(table, {})[key] = value
        return
    stages = tables.setdefault("stage", [{}])
    chosen = range(len(stages)) if index is None else [int(index)]
    for i in chosen:
        if i >= len(stages):
            raise ConfigError(
                f"--set {override!r}: there are {len(stages)} stages, counted from 0", hint="lower the number"
            )
        stages[i][key] = value


class _Reader:
    """Turns tables into dataclasses, and knows how to say where a mistake is."""

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.lines = text.splitlines()

    def settings(self, cls: type[T], tables: dict[str, Any]) -> T:
        return self._table(cls, tables, table="", index=0)

    def _table(self, cls: type, values: Any, *, table: str, index: int) -> Any:
        if not isinstance(values, dict):
            raise self._error(table, "", index, "must be a table", hint=f"write [{table}] and its keys below it")
        hints, known = get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
        made: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise self._unknown(table, key, index, list(known))
            made[key] = self._value(hints[key], value, known[key].metadata, table=table, key=key, index=index)
        return cls(**made)

    def _value(self, kind: Any, value: Any, metadata: Any, *, table: str, key: str, index: int) -> Any:
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._table(kind, value, table=key, index=0)
        if get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
            if not isinstance(value, list) or not value:
                raise self._error(key, "", 0, "must be a list of tables", hint=f"write [[{key}]] and its keys below it")
            return tuple(self._table(get_args(kind)[0], item, table=key, index=i) for i, item in enumerate(value))
        checked = _matches(kind, value)
        if checked is None:
            raise self._error(table, key, index, f"{value!r} is not {_describe(kind)}", hint=metadata["help"])
        low, high = metadata.get("low"), metadata.get("high")
        if isinstance(checked, int | float) and not isinstance(checked, bool):
            below, above = low is not None and not checked >= low, high is not None and not checked <= high
            if below or above:
                raise self._error(table, key, index, f"{value!r} is outside {low} to {high}", hint=metadata["help"])
        return checked

    def _unknown(self, table: str, key: str, index: int, known: list[str]) -> ConfigError:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return self._error(table, key, index, "unknown key" if table else "unknown table", hint=hint)

    def _error(self, table: str, key: str, index: int, what: str, *, hint: str) -> ConfigError:
        line = self._line(table, key, index)
        where = f"{self.source}:{line}" if line else self.source
        place = f" [{table}]" if table else ""
        return ConfigError(f"{where}{place} {key}: {what}" if key else f"{where}{place}: {what}", hint=hint)

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


def _matches(kind: Any, value: Any) -> Any:
    """The value as `kind`, or None if it is of another type."""
    origin = get_origin(kind)
    if origin is Literal:
        return value if value in get_args(kind) else None
    if origin is tuple and isinstance(value, list | tuple):
        items = [_matches(get_args(kind)[0], item) for item in value]
        return None if any(item is None for item in items) else tuple(items)
    if origin in (Union, types.UnionType):
        return next((m for m in (_matches(k, value) for k in get_args(kind)) if m is not None), None)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    return None


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list whose items are {_describe(get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kind, str(kind))
