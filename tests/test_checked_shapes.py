"""The tests check what the package's annotations say (`checked_shapes`): this must not stop unnoticed."""

import ast
import importlib
from importlib.util import find_spec

import pytest
import torch
from jaxtyping import TypeCheckError
from support.checked_shapes import MODULES, ROOT

from flare_cli.fit.frames import Pictures
from flare_cli.head.skinning import rotation_from_axis_angle
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.raster.fragments import Pixels
from flare_cli.synthetic import mitsuba

KERNELS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "flare_cli").rglob("kernels/*.py"))
    if path.stem != "__init__"
]
PLUGINS = "flare_cli.synthetic.mitsuba_plugins"  # its classes derive from those of a Mitsuba variant


def is_checked(module: str) -> bool:
    spec = find_spec(module)
    assert spec is not None
    return type(spec.loader).__module__ == "jaxtyping._import_hook"


def test_a_wrong_axis_is_refused():
    rotation_from_axis_angle(torch.zeros(2, 3))
    with pytest.raises(TypeCheckError, match="axis_angle"):
        rotation_from_axis_angle(torch.zeros(2, 4))


def test_a_wrong_dtype_is_refused():
    with pytest.raises(TypeCheckError, match="linear"):
        srgb_from_linear(torch.zeros(3, dtype=torch.uint8))


def test_fields_that_disagree_about_an_axis_are_refused():
    three, two = torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    Pixels(three, three)
    with pytest.raises(TypeCheckError, match="batch"):
        Pixels(three, two)


def test_fields_of_the_wrong_dtype_are_refused():
    grey = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(TypeCheckError, match="mask"):
        Pictures(image=torch.zeros(1, 4, 4, 3, dtype=torch.uint8), mask=grey.float(), label=grey)


def test_all_modules_are_checked_but_kernels():
    assert len(MODULES) > 100
    assert [name for name in MODULES if not is_checked(name)] == []
    assert len(KERNELS) > 10
    assert [name for name in KERNELS if is_checked(name)] == []


@pytest.mark.parametrize("name", MODULES)
def test_annotations_can_be_read(name: str):
    """One that names something unknown is passed over by the check."""
    if name == PLUGINS:
        if not mitsuba.mitsuba_installed():
            pytest.skip("Mitsuba is not installed")
        mitsuba.load_variant(mitsuba.mitsuba_variant())
    names = vars(importlib.import_module(name))
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is not None:
                eval(ast.unparse(annotation), dict(names))
