"""How many CPU cores this program may use: all, unless whoever shares the machine out says less."""

from __future__ import annotations

import os

from flare_cli.errors import ConfigError

CORES = "FLARE_CORES"  # environment: so many of the machine's cores. `flare batch` sets it where Ray counts them out


def cores() -> int:
    """The number of cores. Raises `ConfigError` if the environment says one that is none."""
    machine = os.cpu_count() or 1
    said = os.environ.get(CORES)
    if said is None:
        return machine
    if not said.isdecimal() or not int(said[:9]) > 0:
        raise ConfigError(f"{CORES} is {said[:60]!r}, not a number of cores", hint=f"unset it, or set 1 to {machine}")
    return min(int(said[:9]), machine)
