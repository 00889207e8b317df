"""The order of the house: data flows down, nothing runs in circles, a function is a screenful."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flare_cli"
# Lowest first: a module imports its own layer or a lower one.
LAYERS = (
    "errors", "config", "data", "parallel", "score", "head", "render", "avatar", "subject", "synthetic", "fit", "track",
    "datasets", "drive", "show", "apps", "cli",
)  # fmt: skip
# The same inside two layers. What stands together does not depend on each other, or is one folder.
INSIDE = {
    "render": (
        ("camera", "colour", "device", "gpu_memory", "kernel_cache", "kernels", "optional"),
        ("launch",),
        ("geometry", "noise"),
        ("raster", "encoding", "light"),
        ("backend",),
    ),
    "track": (("work_folder", "face"), ("solve", "review"), ("request", "label"), ("stages",), ("pipeline",)),
}
LONGEST = 60  # lines of a function outside kernels
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules of the package that a file imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(name for name in found if name in MODULES)


def by_path(paths: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in paths]


@pytest.mark.parametrize("path", by_path(FILES))
def test_module_imports_only_its_own_layer_or_lower(path: Path):
    own = LAYERS.index(name_of(path).split(".")[1])
    above = [name for name in imports_of(path) if LAYERS.index(name.split(".")[1]) > own]
    assert not above


@pytest.mark.parametrize("path", by_path([p for p in FILES if name_of(p).split(".")[1] in INSIDE]))
def test_the_rooms_of_a_layer_have_an_order_too(path: Path):
    layer, *rest = name_of(path).split(".")[1:]
    if not rest:
        return  # the layer's own docstring
    place = {room: i for i, rooms in enumerate(INSIDE[layer]) for room in rooms}
    for name in imports_of(path):
        other, *room = name.split(".")[1:]
        if other == layer and room:
            assert place[room[0]] < place[rest[0]] or room[0] == rest[0], f"{name} is not below {rest[0]}"


def circles() -> Iterator[list[str]]:
    """Modules that import each other, by whatever way (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in imports_of(MODULES[module]) - {module}:
            if other not in index:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                yield circle

    for module in MODULES:
        if module not in index:
            yield from visit(module)


def test_no_module_imports_itself_by_way_of_others():
    assert not list(circles())


@pytest.mark.parametrize("path", by_path(FILES))
def test_module_says_what_it_is_for(path: Path):
    docstring = ast.get_docstring(tree_of(path))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", ";"))


@pytest.mark.parametrize("path", by_path([p for p in FILES if p.name == "__init__.py"]))
def test_a_folder_holds_its_code_in_modules(path: Path):
    assert len(tree_of(path).body) == 1


@pytest.mark.parametrize("path", by_path([p for p in FILES if p.parent.name != "kernels"]))
def test_a_function_is_a_screenful(path: Path):
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [f.name for f in functions if f.end_lineno - f.lineno + 1 > LONGEST]


@pytest.mark.parametrize("path", by_path([p for p in FILES if name_of(p).split(".")[1] != "cli"]))
def test_only_the_command_line_prints(path: Path):
    calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
