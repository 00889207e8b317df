"""Versions of the files that we write: those before are read, those after are refused in the same words everywhere."""

from __future__ import annotations

from flare_cli.config.tables import shown
from flare_cli.errors import FlareError


def known_version(version: object, newest: int, source: str, *, error: type[FlareError], again: str) -> int:
    """`version` as the file `source` states it, if this program reads it: a whole number from 1 to `newest`.

    Raises `error` otherwise; `again` is how to make a damaged file anew.
    """
    if type(version) is int and 1 <= version <= newest:
        return version
    reads = "version 1" if newest == 1 else f"versions 1 to {newest}"
    later = isinstance(version, int | float) and version > newest
    raise error(
        f"{source} is of version {shown(version)}, this flare reads {reads}",
        hint=f"a later flare wrote it: update yours (`pip install -U flare-cli`), or {again}" if later else again,
    )
