"""TOML out of texts that anybody may have written."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

# What `parsed_toml` raises: of text that is no TOML or has numbers of too many digits, and of what is nested too deep.
NOT_TOML = (ValueError, RecursionError)


def parsed_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises `NOT_TOML`."""
    return tomllib.loads(text)
