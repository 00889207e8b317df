"""Damage to a data set of any format is one clear error."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.formats.datasets import PARAMS, TRACKED, WRITERS, edit_frame, edit_json, edit_npz
from support.formats.scene import make_scene, toy_head

from flare_cli.datasets.conventions import place
from flare_cli.datasets.formats import read_dataset
from flare_cli.errors import SubjectError


def _with_nan(values: np.ndarray) -> np.ndarray:
    values = np.array(values, np.float64)
    values.flat[0] = np.nan
    return values


def _shrink(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-10])


MISSING, SHAPE, COUNT, PICTURE, NAN, SIZE = (
    "key .* is missing",
    "has the shape|coefficients",
    "unequal frame counts|has no checkpoint|does not exist|is missing",
    "does not exist",
    "not finite",
    "mixed resolutions",
)
# (format, what is done to it, what the message must say)
DAMAGE = {
    "imavatar: no intrinsics": ("imavatar", lambda d: edit_json(d / PARAMS, lambda v: v.pop("intrinsics")), MISSING),
    "imavatar: no pose": ("imavatar", lambda d: edit_json(d / PARAMS, lambda v: v["frames"][1].pop("pose")), MISSING),
    "imavatar: short pose": (
        "imavatar",
        lambda d: edit_json(d / PARAMS, lambda v: v["frames"][1]["pose"].pop()),
        SHAPE,
    ),
    "imavatar: uneven expressions": (
        "imavatar",
        lambda d: edit_json(d / PARAMS, lambda v: v["frames"][2]["expression"].pop()),
        SHAPE,
    ),
    "imavatar: no picture": ("imavatar", lambda d: (d / "image/2.png").unlink(), PICTURE),
    "imavatar: NaN": (
        "imavatar",
        lambda d: edit_json(d / PARAMS, lambda v: v["frames"][0]["expression"].__setitem__(3, float("nan"))),
        NAN,
    ),
    "imavatar: sizes": ("imavatar", lambda d: _shrink(d / "image/3.png"), SIZE),
    "spark: no world_mat": (
        "spark",
        lambda d: edit_json(d / "flame_params_optimized.json", lambda v: v["frames"][0].pop("world_mat")),
        MISSING,
    ),
    "vhap: no matrix": (
        "vhap",
        lambda d: edit_json(d / "transforms.json", lambda v: v["frames"][0].pop("transform_matrix")),
        MISSING,
    ),
    "vhap: no neck": ("vhap", lambda d: edit_npz(d / "flame_param/00001.npz", neck_pose=None), MISSING),
    "vhap: eyes": (
        "vhap",
        lambda d: edit_npz(d / "flame_param/00001.npz", eyes_pose=lambda v: v[:, :3]),
        SHAPE,
    ),
    "vhap: no parameters": ("vhap", lambda d: (d / "flame_param/00002.npz").unlink(), COUNT),
    "vhap: no picture": ("vhap", lambda d: (d / "images/00002_00.png").unlink(), PICTURE),
    "vhap: NaN": ("vhap", lambda d: edit_npz(d / "flame_param/00001.npz", expr=_with_nan), NAN),
    "vhap: sizes": ("vhap", lambda d: _shrink(d / "images/00003_00.png"), SIZE),
    "metrical: no opencv": ("metrical-tracker", lambda d: edit_frame(d, lambda v: v.pop("opencv")), MISSING),
    "metrical: jaw": (
        "metrical-tracker",
        lambda d: edit_frame(d, lambda v: v["flame"].update(jaw=np.zeros((1, 3)))),
        SHAPE,
    ),
    "metrical: fewer expressions": (
        "metrical-tracker",
        lambda d: edit_frame(d, lambda v: v["flame"].update(exp=np.zeros((1, 50)))),
        SHAPE,
    ),
    "metrical: no picture": ("metrical-tracker", lambda d: (d / "input/00001.png").unlink(), PICTURE),
    "metrical: NaN": (
        "metrical-tracker",
        lambda d: edit_frame(d, lambda v: v["flame"].update(exp=_with_nan(v["flame"]["exp"]))),
        NAN,
    ),
    "metrical: sizes": ("metrical-tracker", lambda d: _shrink(d / "input/00001.png"), SIZE),
    "insta: no focal": ("insta", lambda d: edit_json(d / "transforms.json", lambda v: v.pop("fl_x")), MISSING),
    "insta: matrix": (
        "insta",
        lambda d: edit_json(d / "transforms.json", lambda v: v["frames"][0]["transform_matrix"].pop()),
        SHAPE,
    ),
    "insta: one checkpoint less": ("insta", lambda d: (d / "checkpoint/00003.frame").unlink(), COUNT),
    "insta: no picture": ("insta", lambda d: (d / "images/00001.png").unlink(), PICTURE),
    "insta: NaN": (
        "insta",
        lambda d: edit_json(
            d / "transforms.json", lambda v: v["frames"][0]["transform_matrix"][0].__setitem__(0, float("nan"))
        ),
        NAN,
    ),
    "insta: sizes": ("insta", lambda d: _shrink(d / "images/00001.png"), SIZE),
    "nha: no RT": ("neural head avatars", lambda d: edit_npz(d / TRACKED, RT=None), MISSING),
    "nha: jaw": ("neural head avatars", lambda d: edit_npz(d / TRACKED, jaw_pose=lambda v: v[:, :2]), SHAPE),
    "nha: counts": ("neural head avatars", lambda d: edit_npz(d / TRACKED, expr=lambda v: v[:-1]), COUNT),
    "nha: no picture": ("neural head avatars", lambda d: (d / "frame_0001/image_0000.png").unlink(), PICTURE),
    "nha: NaN": ("neural head avatars", lambda d: edit_npz(d / TRACKED, rotation=_with_nan), NAN),
    "nha: sizes": ("neural head avatars", lambda d: _shrink(d / "frame_0001/image_0000.png"), SIZE),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_error(name, scene, tmp_path):
    kind, damage, expected = DAMAGE[name]
    WRITERS[kind][0](tmp_path, scene)
    damage(tmp_path)
    with pytest.raises(SubjectError, match=expected) as caught:
        read_dataset(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def _paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@pytest.mark.parametrize(
    ("name", "file"), [("imavatar", PARAMS), ("vhap", "transforms.json"), ("insta", "transforms.json")]
)
def test_broken_json_never_ends_in_a_traceback(name, file, tmp_path):
    scene = make_scene(2)
    WRITERS[name][0](tmp_path, scene)
    whole = (tmp_path / file).read_text()
    places = [path for path in _paths(json.loads(whole)) if path]
    chance = np.random.default_rng(0)
    for _ in range(60):
        value = json.loads(whole)
        *parents, last = places[chance.integers(len(places))]
        spot = value
        for key in parents:
            spot = spot[key]
        spot[last] = [None, "x", [], {}, -1, float("nan"), 1e308, [[1]]][chance.integers(8)]
        (tmp_path / file).write_text(json.dumps(value))
        try:
            place(read_dataset(tmp_path, format_name=WRITERS[name][1]), _head_for(name), folder=tmp_path, fps=25)
        except SubjectError as error:
            assert error.hint  # noqa: PT017 - many values do no harm, so nothing need be raised


def _head_for(name: str):
    return toy_head("flame-2023" if name == "vhap" else "flame-2020")
