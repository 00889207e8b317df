"""JSON files, read with errors for people and written whole. Worker processes use this module: it imports no torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from flare_cli.data.atomic import write_text_whole
from flare_cli.errors import FlareError, SubjectError

MAKE_AGAIN = "run `flare preprocess` again"


# What `parsed` raises: of bytes that are no text, of text that is no JSON, and of what is nested too deep.
NOT_JSON = (ValueError, RecursionError)
EXACT_DIGITS = 19  # a whole number of more digits does not fit into 64 bits


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text. Whole numbers beyond 64 bits become floats, maybe infinite. Raises `NOT_JSON`."""
    return json.loads(data, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= EXACT_DIGITS else float(digits)


def read_json_value(path: Path, *, error: type[FlareError] = SubjectError, hint: str = MAKE_AGAIN) -> Any:
    """Whatever a JSON file holds, or one `error` with this `hint` that says why it can't be read."""
    try:
        return parsed(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path} is missing", hint=hint) from None
    except (OSError, *NOT_JSON) as reason:
        raise error(f"{path} is not readable JSON: {reason}", hint=hint) from reason


def read_json(path: Path, *, hint: str = MAKE_AGAIN) -> dict[str, Any]:
    """A JSON object, or one `SubjectError` with this `hint` that says why not."""
    value = read_json_value(path, hint=hint)
    if not isinstance(value, dict):
        raise SubjectError(f"{path} does not hold a JSON object", hint=hint)
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON so that the file is either the old one or the new one, never half of it."""
    for number in _numbers(value):
        if not math.isfinite(number):
            raise ValueError(f"{path}: not finite")
    write_text_whole(path, json.dumps(value, indent=1))


def _numbers(value: object) -> list[float]:
    if isinstance(value, float):
        return [value]
    if isinstance(value, dict):
        return [n for item in value.values() for n in _numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in _numbers(item)]
    return []
