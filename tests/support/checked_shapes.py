"""Importing this checks the annotations of the package while the tests run: shapes, dtypes and plain types.

Functions are checked where they are called and dataclasses where they are made, in every module that is imported
later. Kernels are left out: Warp and Triton compile them from their source, annotations and all. So are programs
that a test starts. `JAXTYPING_DISABLE=1` turns the checks off.
"""

from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[2]
# Leaf modules one by one, as the hook would take a package together with its kernels.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "flare_cli").rglob("*.py"))
    if path.stem != "__init__" and path.parent.name != "kernels"
]
# The numeric tower: a whole number will do where a float is asked for, as it does for the static checker.
install_import_hook(MODULES, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
