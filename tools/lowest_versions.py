"""Print pip constraints: the lowest version of everything in pyproject.toml. `make test-lowest` tests with these."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def lowest(requirement: str) -> str:
    match = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml names no lowest version of {requirement}")
    return f"{match[1]}=={match[2]}"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    print("\n".join(lowest(requirement) for requirement in requirements))


if __name__ == "__main__":
    main()
