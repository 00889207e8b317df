"""TOML to `Config`: presets by name, files by path, `--set table.key=value`; every mistake is named with its line."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from flare_cli.config.schema import Config
from flare_cli.config.shipped import shipped_folder
from flare_cli.config.tables import read_tables, shown
from flare_cli.config.toml_text import NOT_TOML, parsed_toml
from flare_cli.config.versions import known_version
from flare_cli.errors import ConfigError

T = TypeVar("T")

PRESETS = "configs"  # the folder of a fit's settings
# Of what is written: 2 since 0.2.0. Files that name none, as most that people write, are of version 1.
CONFIG_VERSION = 2
# Settings of version 1 that ablations showed no gain for, and the value at which they did nothing (None: any).
_TAKEN_OUT: dict[str, dict[str, float | None]] = {
    "material": {"specular": 0.0},
    "loss": {"light_smoothness": 0.0},
    "track": {"steadiness": 0.0, "turning": None, "moving": None},
    "stage": {"mesh_smoothing": 0},
}


def preset_names(folder: str = PRESETS) -> list[str]:
    """Names that `load_config` takes besides paths, or what else comes with the program in `folder`."""
    return sorted(path.stem for path in shipped_folder(folder).glob("*.toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a preset or a TOML file and apply `table.key=value` overrides (values as in TOML; bare words are texts).

    Raises `ConfigError` naming file, line, table and key.
    """
    return load_settings(Config, name_or_path, overrides, folder=PRESETS, kind="config", upgrade=_current_tables)


def load_settings(
    cls: type[T],
    name_or_path: str,
    overrides: Sequence[str],
    *,
    folder: str,
    kind: str,
    upgrade: Callable[[dict[str, Any], str], dict[str, Any]] = lambda tables, _: tables,
) -> T:
    """Read any dataclass of dataclasses (one a table, fields by `schema.setting`) as `load_config` reads a `Config`.

    Names stand for files in the shipped `folder`; `kind` is what messages call them; `upgrade` turns the tables of an
    earlier version, and where they come from, into today's. Raises `ConfigError`.
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
        parsed = parsed_toml(text)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint=f"shipped: {', '.join(preset_names(folder))}") from None
    except (OSError, *NOT_TOML) as error:  # ValueError: also of bytes that are no text
        raise ConfigError(
            f"{path} is not readable TOML: {error}",
            hint=f"see {folder}/{preset_names(folder)[0]}.toml for an example",
        ) from error
    tables = upgrade(parsed, path.name)
    for override in overrides:
        _apply_override(tables, override)
    return read_tables(cls, tables, path.name, text=text)


def config_from_dict(tables: Any, source: str) -> Config:
    """Check a plain dictionary (as `config_to_dict` makes it, or out of an avatar file) and turn it into a `Config`."""
    return read_tables(Config, _current_tables(tables, source) if isinstance(tables, dict) else tables, source)


def config_to_dict(config: Config) -> dict[str, Any]:
    """The version and the config as tables of plain values, ready for TOML or JSON."""
    return {"version": CONFIG_VERSION, **_plain(dataclasses.asdict(config))}


def _current_tables(tables: dict[str, Any], source: str) -> dict[str, Any]:
    """The tables of a config of any version as today's. Raises `ConfigError` for what can't be carried over."""
    current = {name: _copied(table) for name, table in tables.items()}
    stated = current.pop("version", 1)
    version = known_version(stated, CONFIG_VERSION, source, error=ConfigError, again="leave the line out")
    if version > 1:
        return current
    for name, keys in _TAKEN_OUT.items():
        found = current.get(name)
        tables_of_name: list[Any] = found if isinstance(found, list) else [found]
        for table, (key, neutral) in itertools.product(tables_of_name, keys.items()):
            if isinstance(table, dict) and table.pop(key, neutral) != neutral is not None:
                raise ConfigError(
                    f"{source} [{name}] {key}: was taken out in 0.2.0, as it gained nothing", hint="leave it out"
                )
    return current


def _copied(table: Any) -> Any:
    """A table, or a list of them, that may be changed."""
    if isinstance(table, list):
        return [_copied(item) for item in table]
    return dict(table) if isinstance(table, dict) else table


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _apply_override(tables: dict[str, Any], override: str) -> None:
    match = re.fullmatch(r"(\w+)(?:\.(\d{1,4}))?\.(\w+)=(.*)", override.strip())  # of one line
    if match is None:
        raise ConfigError(
            f"--set {shown(override)} is not table.key=value",
            hint="for example: --set data.size=256, or --set stage.0.steps=500 for the first stage",
        )
    table, index, key, raw = match.groups()
    try:
        value = parsed_toml(f"value = {raw}")["value"]
    except NOT_TOML:
        value = raw
    chosen = tables.setdefault(table, [{}] if table == "stage" else {})
    if table == "stage" and isinstance(chosen, list) and index is not None:
        if int(index) >= len(chosen):
            raise ConfigError(
                f"--set {override!r}: there are {len(chosen)} stages, counted from 0", hint="lower the number"
            )
        chosen = [chosen[int(index)]]
    for changed in chosen if isinstance(chosen, list) else [chosen]:
        if isinstance(changed, dict):  # what else it is, `read_tables` says
            changed[key] = value
