"""The JSON files of a subject. Worker processes use this module: it imports no torch."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from flare_cli.errors import SubjectError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or say in one `SubjectError` why not."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SubjectError(f"{path} is missing", hint="run `flare preprocess` again") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SubjectError(f"{path} is not readable JSON: {error}", hint="run `flare preprocess` again") from error
    if not isinstance(value, dict):
        raise SubjectError(f"{path} does not hold a JSON object", hint="run `flare preprocess` again")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON so that the file is either the old one or the new one, never half of it."""
    for number in _numbers(value):
        if not math.isfinite(number):
            raise ValueError(f"{path}: not finite")
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(partial, path)


def _numbers(value: object) -> list[float]:
    if isinstance(value, float):
        return [value]
    if isinstance(value, dict):
        return [n for item in value.values() for n in _numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in _numbers(item)]
    return []
