"""Every kind of driver gives the motion that its file says; what is wrong with a file is named."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flare_cli.drive import drivers
from flare_cli.drive.arkit_files import read_live_link, read_mediapipe
from flare_cli.drive.drivers import Driver, load_driver
from flare_cli.drive.presets import PRESETS
from flare_cli.drive.transfer import transfer
from flare_cli.errors import FlareError
from flare_cli.fit.frames import Frames
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.model import HeadModel
from flare_cli.synthetic.recording import make_synthetic_subject

PASCAL = [name[0].upper() + name[1:] for name in ARKIT_NAMES]
ANGLES = ["HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"]
SMILE, JAW_OPEN = ARKIT_NAMES.index("mouthSmileLeft"), ARKIT_NAMES.index("jawOpen")


def write_csv(path: Path, weights: np.ndarray, angles: np.ndarray, *, frames: list[int] | None = None) -> Path:
    """A Live Link Face file; `frames` are the 60ths of a second of the rows."""
    frames = frames or list(range(len(weights)))
    lines = [",".join(["Timecode", "BlendshapeCount", *PASCAL, *ANGLES])]
    for n, w, a in zip(frames, weights, angles, strict=True):
        code = (
            f"23:59:{59 + n // 60 - 60 * (n // 60 > 0):02d}:{n % 60:02d}.500"
            if n < 60
            else f"00:00:00:{n - 60:02d}.500"
        )
        lines.append(",".join([code, "61", *(f"{x:.6f}" for x in w), *(f"{x:.6f}" for x in [*a, 0, 0, 0])]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(8, 52)).round(6)


def test_live_link_rows_become_weights_and_turns(weights, open_head: HeadModel, tmp_path):
    angles = np.tile([0.3, -0.1, 0.05], (8, 1))  # yaw, pitch, roll
    driver = load_driver(write_csv(tmp_path / "a.csv", weights, angles), open_head, cache=tmp_path)
    assert driver.fps == 60
    np.testing.assert_allclose(driver.expression, weights @ open_head.arkit.expression.numpy(), atol=1e-5)
    turned = Rotation.from_rotvec(driver.pose[0, 0].numpy()).apply([0, 0, 1])
    assert turned[0] > 0.2  # yaw turns the face to the subject's left
    assert turned[1] > 0.05  # negative pitch looks up
    assert driver.pose[:, 2, 0].min() > 0  # the jaw is a joint


def test_live_link_gaps_and_midnight_keep_the_time(weights, tmp_path):
    angles = np.zeros((8, 3))
    capture = read_live_link(write_csv(tmp_path / "a.csv", weights, angles, frames=[56, 57, 59, 60, 61, 62, 63, 64]))
    assert len(capture.weights) == 9
    np.testing.assert_allclose(capture.weights[2], (weights[1] + weights[2]) / 2, atol=1e-5)
    np.testing.assert_allclose(capture.weights[-1], weights[-1], atol=1e-5)


def test_angles_that_cannot_be_radians_are_degrees(weights, tmp_path):
    capture = read_live_link(write_csv(tmp_path / "a.csv", weights, np.tile([30.0, 0, 0], (8, 1))))
    np.testing.assert_allclose(capture.head[:, 1], np.radians(30))
    assert "degrees" in capture.notes[0]


def shapes(weights: np.ndarray) -> dict[str, object]:
    named = [dict(zip(ARKIT_NAMES, row.tolist(), strict=True)) for row in weights]
    categories = [
        [{"index": 0, "score": 1e-6, "categoryName": "_neutral"}]
        + [{"index": i, "score": s, "categoryName": n} for i, (n, s) in enumerate(row.items(), 1)]
        for row in named
    ]
    return {
        "numbers": weights.tolist(),
        "names": {"fps": 24, "frames": named},
        "categories": [{"blendshapes": c} for c in categories],
        "per face": {"frames": [{"faceBlendshapes": [c]} for c in categories]},
    }


@pytest.mark.parametrize("shape", ["numbers", "names", "categories", "per face"])
def test_mediapipe_shapes_are_read_alike(shape, weights, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(shapes(weights)[shape]))
    capture = read_mediapipe(path)
    np.testing.assert_allclose(capture.weights, weights)
    assert capture.fps == (24 if shape == "names" else 30)


def test_frames_without_a_face_hold_the_one_before(weights, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([weights[0].tolist(), [], None, weights[1].tolist()]))
    np.testing.assert_allclose(read_mediapipe(path).weights, weights[[0, 0, 0, 1]])


def test_named_arrays(weights, open_head: HeadModel, tmp_path):
    pose = np.zeros((8, 15))
    pose[:, 1] = 0.2
    np.savez(tmp_path / "a.npz", arkit=weights, pose=pose, fps=50)
    driver = load_driver(tmp_path / "a.npz", open_head, cache=tmp_path)
    assert driver.fps == 50
    np.testing.assert_allclose(driver.pose[:, 0, 1], 0.2, rtol=1e-6)
    expression = np.random.default_rng(1).normal(size=(8, open_head.n_expression))
    np.savez(tmp_path / "b.npz", expression=expression)
    np.testing.assert_allclose(
        load_driver(tmp_path / "b.npz", open_head, cache=tmp_path).expression, expression, rtol=1e-6
    )


@pytest.mark.parametrize("name", PRESETS)
def test_presets_begin_and_end_at_rest(name, open_head: HeadModel, tmp_path):
    driver = load_driver(Path(name), open_head, cache=tmp_path)
    assert driver.expression.min() >= 0
    assert driver.expression.max() <= 1
    assert driver.expression[[0, -1]].abs().max() < 0.15
    turns = Rotation.from_rotvec(driver.pose[:, 0].numpy())
    assert (turns[0] * turns[-1].inv()).magnitude() < 0.1
    assert driver.expression.std() > 0.01 or turns.magnitude().max() > 3


def test_captures_are_relative_to_zero_and_own_neutral(weights, toy_frames: Frames, open_head: HeadModel, tmp_path):
    """A capture at rest shows the avatar's own neutral, whatever its numbers are."""
    own = toy_frames.track
    own.expression[:] = 0.1
    own.translation[:] = 0.02
    path = write_csv(tmp_path / "a.csv", np.zeros((3, 52)), np.zeros((3, 3)))
    moved = transfer(load_driver(path, open_head, cache=tmp_path), own, absolute=False)
    torch.testing.assert_close(moved.expression, torch.full((3, 51), 0.1))
    torch.testing.assert_close(moved.translation, torch.full((3, 3), 0.02))
    absolute = transfer(load_driver(path, open_head, cache=tmp_path), own, absolute=True)
    assert absolute.expression.abs().max() == 0


def test_a_person_driving_herself_changes_nothing(toy_frames: Frames, open_head: HeadModel, tmp_path):
    own = toy_frames.track
    chance = torch.Generator().manual_seed(0)
    arrays = {
        "expression": 0.2 * torch.rand(6, 51, generator=chance),
        "pose": 0.3 * torch.randn(6, 5, 3, generator=chance),
        "translation": 0.01 * torch.randn(6, 3, generator=chance),
    }
    np.savez(tmp_path / "me.npz", **{k: v.numpy() for k, v in arrays.items()})
    driver: Driver = load_driver(tmp_path / "me.npz", open_head, cache=tmp_path)
    for name, value in arrays.items():
        getattr(own, name)[:] = value
    moved = transfer(driver, own, absolute=False)
    for name, value in arrays.items():
        torch.testing.assert_close(getattr(moved, name), value, atol=1e-5, rtol=0)


def test_a_video_is_preprocessed_once(open_head: HeadModel, tmp_path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []

    def film(request, progress):
        made.append(request.out)
        make_synthetic_subject(request.out, frames=4, size=32, samples=1)

    monkeypatch.setattr(drivers, "make_subject", film)
    video = tmp_path / "talk.mp4"
    video.write_bytes(b"one")
    first = load_driver(video, open_head, cache=tmp_path / "cache")
    again = load_driver(video, open_head, cache=tmp_path / "cache")
    torch.testing.assert_close(first.expression, again.expression)
    assert len(first) == 4
    video.write_bytes(b"another")
    load_driver(video, open_head, cache=tmp_path / "cache")
    assert made[0] == made[1] != made[2]
    assert {path.parent for path in made} == {tmp_path / "cache"}


def _csv(change):
    def write(folder: Path) -> Path:
        path = write_csv(folder / "a.csv", np.zeros((3, 52)), np.zeros((3, 3)))
        path.write_text(change(path.read_text()))
        return path

    return write


def _file(name: str, text: str):
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def _npz(**arrays):
    def write(folder: Path) -> Path:
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return write


def _bytes(change):
    def write(folder: Path) -> Path:
        path = _npz(expression=np.zeros((3, 51), np.float32))(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def _claiming(folder: Path) -> Path:
    """An array that says it has 10^15 entries."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("arkit.npy", array)
    return folder / "a.npz"


def _category(value: object) -> str:
    return json.dumps([[{"categoryName": name, "score": 0.5} for name in ARKIT_NAMES[:51]] + [value]])


WRONG = {
    "npz cut off": (_bytes(lambda data: data[: len(data) // 2]), "plain arrays"),
    "npz that is empty": (_bytes(lambda data: b""), "plain arrays"),
    "npz that is a text": (_bytes(lambda data: b"these are my notes"), "plain arrays"),
    "npz with a bit flipped": (_bytes(lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]), "plain arrays"),
    "npz that claims 10^15 entries": (_claiming, "shape|cut off"),
    "npz without frames": (_npz(expression=np.zeros((0, 51))), "has 0 frames"),
    "npz with fps of words": (_npz(expression=np.zeros((3, 51)), fps=np.array("fast")), "fps is"),
    "npz without a rate": (_npz(expression=np.zeros((3, 51)), fps=np.zeros(0)), "fps is"),
    "npz of fps 0": (_npz(expression=np.zeros((3, 51)), fps=0), "fps is"),
    "npz of complex numbers": (_npz(expression=np.zeros((3, 51), complex)), "expression has the shape"),
    "npz of an unknown head": (_npz(expression=np.zeros((3, 51)), head="nobody"), "no head model"),
    "csv of hours": (_csv(lambda t: t.replace("23:59:59:02", "22:59:59:02")), "span|go forward"),
    "csv of eternity": (_csv(lambda t: t.replace("23:59:59:02", "9" * 400 + ":59:59:02")), "is not HH:MM:SS:FF"),
    "csv of huge weights": (_csv(lambda t: t.replace("0.000000", "1e300", 1)), "is 1e300"),
    "json with a number for a category": (_file("a.json", _category(3)), "something else"),
    "json with a score that is a list": (
        _file("a.json", _category({"categoryName": ARKIT_NAMES[51], "score": []})),
        "names|not made of numbers",
    ),
    "json of a number": (_file("a.json", "[3]"), "expected 52"),
    "json of many digits": (_file("a.json", f"[{[0] * 51 + [10**400]}]"), "expected 52|not finite"),
    "json nested without end": (_file("a.json", "[" * 10**5), "not readable JSON"),
    "json nested": (_file("a.json", "[" * 500 + "]" * 500), "not made of numbers|expected 52"),
    "json with a matrix of texts": (
        _file("a.json", json.dumps([{"blendshapes": [0.0] * 52, "matrix": ["x"] * 16}])),
        "matrix",
    ),
    "json with a matrix of NaN": (
        _file("a.json", json.dumps([{"blendshapes": [0.0] * 52, "matrix": [float("nan")] * 16}])),
        "matrix",
    ),
    "csv without a unit": (
        _csv(lambda t: t.replace("JawOpen", "Jaw").replace("MouthClose", "M")),
        "columns are missing",
    ),
    "csv with a word": (_csv(lambda t: t.replace("0.000000", "much", 1)), "not a number"),
    "csv with NaN": (_csv(lambda t: t.replace("0.000000", "nan", 1)), "is nan"),
    "csv of nothing": (_csv(lambda t: t.splitlines()[0]), "no frames"),
    "csv with odd time": (_csv(lambda t: t.replace("23:59:59:00.500", "soon")), "timecode 'soon'"),
    "csv that goes back": (_csv(lambda t: t.replace("23:59:59:02", "23:59:59:01")), "does not go forward"),
    "json of nothing": (_file("a.json", "[]"), "no frames"),
    "json that is none": (_file("a.json", "{"), "not readable JSON"),
    "json with few units": (_file("a.json", '[{"jawOpen": 1}]'), "names 1 of the 52"),
    "json of 51 numbers": (_file("a.json", json.dumps([[0.0] * 51])), "expected 52"),
    "json with odd fps": (_file("a.json", json.dumps({"fps": 0, "frames": [[0.0] * 52]})), "fps is 0"),
    "npz with odd names": (_npz(verts=np.zeros(3)), "holds verts"),
    "npz of other length": (_npz(expression=np.zeros((3, 51)), pose=np.zeros((2, 5, 3))), "pose has the shape"),
    "npz of another head": (_npz(expression=np.zeros((3, 100))), "expression has the shape"),
    "npz with NaN": (_npz(translation=np.full((3, 3), np.nan)), "not finite"),
    "npz of objects": (_npz(expression=np.array([{}], object)), "plain arrays"),
    "unknown suffix": (_file("a.bvh", ""), "not a kind of driver"),
    "nothing": (lambda folder: folder / "dance", "there is no driver"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_drivers_are_one_clear_error(name, open_head: HeadModel, tmp_path):
    write, expected = WRONG[name]
    with pytest.raises(FlareError, match=expected) as caught:
        load_driver(write(tmp_path), open_head, cache=tmp_path)
    assert caught.value.hint
