"""Where the files that come with the program are: inside the installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path


def shipped_folder(checkout: str) -> Path:
    """The folder that is `checkout` (for example `assets/env_maps`) in the repository, wherever it is installed."""
    package = Path(__file__).parents[1]
    installed = package / "assets" / checkout.removeprefix("assets/")
    return installed if installed.is_dir() else package.parent / checkout
