"""Data flows down: a module imports its own layer or a lower one."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "flare_cli"
LAYERS = (
    "errors", "config", "data", "parallel", "score", "head", "render", "avatar", "subject", "synthetic", "fit", "track",
    "datasets", "drive", "show", "apps", "cli",
)  # fmt: skip
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_its_own_layer_or_lower(path: Path):
    assert layer(path) in LAYERS
    own = LAYERS.index(layer(path))
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "flare_cli" and len(parts) > 1:
            assert LAYERS.index(parts[1]) <= own, f"{name} is above {layer(path)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_says_what_it_is_for(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", ";"))


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p) != "cli"], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_prints(path: Path):
    calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
