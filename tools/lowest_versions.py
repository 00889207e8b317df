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
# These stay as tested: where pip has no other CPU build, it would fetch CUDA (several GB). What pyproject.toml says of
# torch is the oldest that the GPU tests ran with.
AS_TESTED = re.compile(r"torch(vision)?==")


def lowest(requirement: str) -> str:
    match = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml names no lowest version of {requirement}")
    return f"{match[1]}=={match[2]}"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [lowest(requirement) for requirement in requirements if not requirement.startswith("torch>=")]
    print("\n".join([*lines, *(line for line in tested if AS_TESTED.match(line))]))


if __name__ == "__main__":
    main()
