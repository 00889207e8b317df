"""Files of every kind that we read, damaged: a sentence or a value within its bounds, in bounded time and memory.

A short run in the default suite; `make fuzz` tries hundreds of each kind, other ones each time.
"""

from __future__ import annotations

import os
import pickle
import resource
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fuzz import damage
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import flame_like, pickles
from support.formats.datasets import PARAMS, TRACKED, WRITERS
from support.formats.scene import make_scene, toy_head

from flare_cli.apps.batch.manifest import NAME, Entry, find_recordings
from flare_cli.apps.batch.work import MADE, Defaults, begin, note, plan, read_record
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.avatar.storage import load_avatar
from flare_cli.config.loading import load_config
from flare_cli.data.exr import write_exr
from flare_cli.data.hdr import load_envmap, save_hdr
from flare_cli.data.image import read_rgb, write_png
from flare_cli.data.meshes.obj import read_obj_uv
from flare_cli.data.pickle.machine import load_pickle
from flare_cli.data.pickle.torch_files import load_torch_pickle
from flare_cli.data.video import VideoReader, open_video
from flare_cli.datasets.conventions import place
from flare_cli.datasets.formats import read_dataset
from flare_cli.drive.arkit_files import read_live_link, read_mediapipe
from flare_cli.drive.drivers import load_driver
from flare_cli.errors import FlareError
from flare_cli.fit.checkpoint import CHECKPOINT, load_checkpoint
from flare_cli.fit.frames import load_frames, split_frames
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.flame.extras import read_extras
from flare_cli.head.open_head import load_open_head
from flare_cli.subject.folder import load_subject
from flare_cli.synthetic.recipe import load_recipe
from flare_cli.synthetic.recording import make_synthetic_subject
from flare_cli.track.work_folder import WorkFolder

EXAMPLES = int(os.environ.get("FLARE_FUZZ", "8"))  # of each kind
SECONDS, BYTES = 20, 2 << 30  # that a file may take
FIT = ("data.size=32", "stage.steps=6", "material.log2_entries=8", "run.checkpoint_seconds=0", "light.directions=16",
       "light.visibility=false")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A valid file, how it is read, and how it is damaged. Of a `slow` kind fewer are tried."""

    path: Path
    read: Callable[[Path], object]
    damage: st.SearchStrategy[damage.Damage]
    slow: bool = False


def finite(values: object) -> None:
    """Nonsense must not come in: whatever was accepted is finite."""
    if isinstance(values, torch.Tensor | np.ndarray | float):
        assert torch.isfinite(torch.as_tensor(values)).all()
    elif isinstance(values, Mapping):
        finite(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            finite(value)


def read_subject(path: Path) -> None:
    track = load_subject(path.parent).track
    finite([getattr(track, name) for name in ("shape", "expression", "pose", "translation")])
    finite([track.camera.intrinsics, track.camera.camera_from_world])
    assert (track.camera.intrinsics[:, :2] > 0).all()
    assert 0 < track.fps < 1e5
    assert len(set(track.frames.tolist())) == len(track)


def read_avatar(path: Path) -> None:
    finite(load_avatar(path)[0].state_dict())


def read_driver(path: Path) -> None:
    driver = load_driver(path, load_open_head(), cache=path.parent)
    finite([driver.expression, driver.pose, driver.translation])
    assert 0 < driver.fps < 1e5


def read_capture(path: Path) -> None:
    capture = (read_live_link if path.suffix == ".csv" else read_mediapipe)(path)
    finite([capture.weights, capture.head])


def read_envmap(path: Path) -> None:
    envmap = load_envmap(path)
    finite(envmap)
    assert envmap.min() >= 0


def read_video(path: Path) -> None:
    for frame in VideoReader(path, max_frames=50):
        assert frame.rgb.shape[2] == 3


def read_work(path: Path) -> None:
    """Our own unfinished work: made again where it is damaged."""
    WorkFolder(path.parent).arrays(path.stem)


def read_key(path: Path) -> None:
    """The damage is taken away with the folder, which the next example makes again."""
    WorkFolder(path.parent).claim("abc")


def read_list(path: Path) -> None:
    for entry in find_recordings([str(path)]):
        assert NAME.fullmatch(entry.name)
        assert entry.size is None or 64 <= entry.size <= 4096


def batch_note(folder: Path) -> Kind:
    """What a batch noted of a stage."""
    work = plan(Entry(input="a.mp4", name="me"), folder, Defaults())
    note(work, "fit", begin(work, "fit", {}))
    return Kind(work.notes("fit") / MADE, lambda _: finite(read_record(work)["fit"].seconds or 0.0), damage.jsons)


def importing(format_name: str, folder: Path, head: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        track = place(read_dataset(folder, format_name=format_name), toy_head(head), folder=folder, fps=25).track
        finite([track.expression, track.pose, track.translation, track.camera.intrinsics])

    return read


def extras(of: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        given = {name: path if of == name else None for name in ("landmarks", "mediapipe", "masks", "uv")}
        read_extras(**given, n_faces=9976, n_vertices=5023)

    return read


class CutOffError(Exception):
    """Ends a fit, so that its checkpoint stays."""


def cut_off(what: str, done: int, total: int) -> None:
    if what.startswith("fit") and done == 4:
        raise CutOffError


def fitted(folder: Path) -> tuple[Path, Path, Path]:
    """A subject, an avatar of it, and the checkpoint of a fit that was cut off."""
    subject = make_synthetic_subject(folder / "me", frames=6, size=32, samples=1).folder
    request = FitRequest(subject=subject, run=folder / "run", config="demo", overrides=FIT, device="cpu")
    avatar = fit(request, lambda *_: None).avatar
    with pytest.raises(CutOffError):
        fit(replace(request, run=folder / "cut"), cut_off)
    return subject, avatar, folder / "cut" / CHECKPOINT


def checkpoint_reader(subject: Path) -> Callable[[Path], None]:
    recorded, config = load_subject(subject), load_config("demo", FIT)
    training, _ = split_frames(recorded, config.data.holdout, config.data.every)
    track = load_frames(recorded, training, config.data.size).track

    def read(path: Path) -> None:
        avatar, _, optimiser = load_checkpoint(path, config, track, torch.device("cpu"))
        finite([avatar.state_dict(), optimiser])

    return read


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def drivers(folder: Path) -> dict[str, Kind]:
    rng = np.random.default_rng(0)
    weights = rng.random((4, 52)).round(4)
    header = ",".join(["Timecode", "BlendShapeCount", *ARKIT_NAMES, "HeadYaw", "HeadPitch", "HeadRoll"])
    rows = [f"10:00:00:0{i}.5,61," + ",".join(map(str, [*row, 0.1, 0.2, 0.3])) for i, row in enumerate(weights)]
    csv = written(folder / "a.csv", "\n".join([header, *rows]))
    categories = [{"categoryName": name, "score": 0.5} for name in ARKIT_NAMES]
    frames = [{"faceBlendshapes": [categories], "matrix": np.eye(4).ravel().tolist()}, weights[0].tolist()]
    as_json = written(folder / "a.json", damage.json.dumps({"fps": 30, "frames": frames}))
    np.savez(folder / "a.npz", expression=np.zeros((4, 51), np.float32), pose=np.zeros((4, 15)), fps=25.0)
    np.savez(folder / "b.npz", arkit=weights, translation=np.zeros((4, 3)))
    return {
        "driver .csv": Kind(csv, read_capture, damage.texts),
        "driver .json": Kind(as_json, read_capture, damage.jsons),
        "driver .npz": Kind(folder / "a.npz", read_driver, damage.arrays),
        "driver .npz of ARKit": Kind(folder / "b.npz", read_driver, damage.arrays),
    }


def datasets(folder: Path) -> dict[str, Kind]:
    scene = make_scene(3)
    files = {
        "imavatar": (PARAMS, damage.jsons, "flame-2020"),
        "spark": ("flame_params_optimized.json", damage.jsons, "flame-2020"),
        "vhap": ("transforms.json", damage.jsons, "flame-2023"),
        "insta": ("transforms.json", damage.jsons, "flame-2020"),
        "metrical-tracker": ("checkpoint/00001.frame", damage.zips, "flame-2020"),
        "neural head avatars": (TRACKED, damage.arrays, "flame-2020"),
    }
    kinds: dict[str, Kind] = {}
    for name, (file, how, head) in files.items():
        write, format_name, _ = WRITERS[name]
        write(folder / name, scene)
        kinds[f"data set of {name}"] = Kind(folder / name / file, importing(format_name, folder / name, head), how)
    return kinds


def pictures(folder: Path) -> dict[str, Kind]:
    rng = np.random.default_rng(0)
    write_png(folder / "a.png", rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "a.jpg"), rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    save_hdr(folder / "a.hdr", rng.random((16, 32, 3)).astype(np.float32))
    with open_video(folder / "a.mp4", fps=10) as video:
        for _ in range(10):
            video.write(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8))
    if find_spec("OpenEXR"):
        write_exr(folder / "a.exr", rng.random((16, 32, 3)).astype(np.float32))
    return {
        "PNG": Kind(folder / "a.png", read_rgb, damage.plain),
        "JPEG": Kind(folder / "a.jpg", read_rgb, damage.plain),
        "HDR": Kind(folder / "a.hdr", read_envmap, damage.texts),
        "EXR": Kind(folder / "a.exr", read_envmap, damage.plain),
        "video": Kind(folder / "a.mp4", read_video, damage.plain, slow=True),
    }


def heads(folder: Path) -> dict[str, Kind]:
    torch.save({"a": torch.arange(6.0).reshape(2, 3)}, folder / "new.frame")
    torch.save({"a": torch.arange(6.0)}, folder / "old.frame", _use_new_zipfile_serialization=False)
    quad = "".join(f"vt {u} {v}\n" for u, v in ((0, 0), (1, 0), (1, 1))) + "f 1/1 2/2 3/3\n" * 3
    landmarks = flame_like.write_landmarks(folder)
    kinds = {
        "pickle": Kind(written(folder / "a.pkl", pickle.dumps(pickles.PLAIN, 2)), load_pickle, damage.plain),
        "pickle, protocol 5": Kind(
            written(folder / "b.pkl", pickle.dumps(pickles.PLAIN, 5)), load_pickle, damage.plain
        ),
        "torch file": Kind(folder / "new.frame", load_torch_pickle, damage.zips),
        "torch file, old": Kind(folder / "old.frame", load_torch_pickle, damage.plain),
        "OBJ": Kind(written(folder / "a.obj", quad), read_obj_uv, damage.texts),
    }
    for path in landmarks.values():
        of, how = ("mediapipe", damage.arrays) if path.suffix == ".npz" else ("landmarks", damage.plain)
        kinds[f"landmarks, {path.name}"] = Kind(path, extras(of), how)
    return kinds


def settings_files(folder: Path) -> dict[str, Kind]:
    root = Path(__file__).parents[2] / "configs"
    return {
        "config": Kind(
            written(folder / "a.toml", (root / "demo.toml").read_bytes()), lambda p: load_config(str(p)), damage.texts
        ),
        "recipe": Kind(
            written(folder / "b.toml", (root / "benchmark" / "dev-1.toml").read_bytes()),
            lambda p: load_recipe(str(p)),
            damage.texts,
        ),
        "--set": Kind(
            written(folder / "c.txt", "stage.0.steps=500"),
            lambda p: load_config("demo", [p.read_bytes().decode("latin-1")]),
            damage.texts,
        ),
        "list .csv": Kind(
            written(
                folder / "d.csv",
                "input,name,size,fps,set,export\na.mp4,me,256,25,data.size=64;run.seed=3,glb;html\nb.mp4",
            ),
            read_list,
            damage.texts,
        ),
        "list .toml": Kind(
            written(
                folder / "e.toml",
                '[[subject]]\ninput = "a.mp4"\nsize = 256\n[[subject]]\ninput = "b.mp4"\nset = ["run.seed=3"]',
            ),
            read_list,
            damage.texts,
        ),
    }


NAMES = [
    *(
        "flame_params.json",
        "flare.json",
        "avatar",
        "checkpoint",
        "work key",
        "work arrays",
        "config",
        "recipe",
        "--set",
        "list .csv",
        "list .toml",
        "note of a batch",
    ),
    *("driver .csv", "driver .json", "driver .npz", "driver .npz of ARKit", "PNG", "JPEG", "HDR", "EXR", "video"),
    *(f"data set of {n}" for n in ("imavatar", "spark", "vhap", "insta", "metrical-tracker", "neural head avatars")),
    *("pickle", "pickle, protocol 5", "torch file", "torch file, old", "OBJ"),
    *("landmarks, landmark_embedding.npy", "landmarks, mediapipe_landmark_embedding.npz"),
]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    folder = tmp_path_factory.mktemp("valid")
    subject, avatar, checkpoint = fitted(folder)
    work, claimed = WorkFolder(folder / ".work"), WorkFolder(folder / "claimed" / ".work")
    work.claim("abc")
    claimed.claim("abc")
    work.save_arrays("track", {"pose": np.ones((5, 3)), "fps": np.array(25.0)})
    return {
        "flame_params.json": Kind(subject / "flame_params.json", read_subject, damage.jsons),
        "flare.json": Kind(subject / "flare.json", read_subject, damage.jsons),
        "avatar": Kind(avatar, read_avatar, damage.tensors),
        "checkpoint": Kind(checkpoint, checkpoint_reader(subject), damage.tensors),
        "work key": Kind(claimed.folder / "key.json", read_key, damage.jsons),
        "work arrays": Kind(work.folder / "track.npz", read_work, damage.arrays),
        "note of a batch": batch_note(folder / "batch"),
        **settings_files(folder),
        **drivers(folder),
        **datasets(folder),
        **pictures(folder),
        **heads(folder),
    }


@contextmanager
def little_memory() -> Generator[None]:
    """What takes more than `BYTES` gets a MemoryError, which is no sentence."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def tried(request: pytest.FixtureRequest) -> Generator[Counter[tuple[str, str]]]:
    """How often a kind was refused and accepted; `make fuzz` shows it."""
    counts: Counter[tuple[str, str]] = Counter()
    yield counts
    if request.config.option.capture == "no":
        for name in NAMES:
            refused, accepted = counts[name, "refused"], counts[name, "accepted"]
            print(f"{name:<45} {refused + accepted:>5} tried  {refused:>5} refused  {accepted:>5} did no harm")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded by Linux's means")
@pytest.mark.filterwarnings("ignore")  # what libraries say of numbers that are checked after
@pytest.mark.parametrize("name", NAMES)
def test_damage_is_a_sentence_or_does_no_harm(name: str, kinds: dict[str, Kind], tried: Counter[tuple[str, str]]):
    if name == "EXR":
        pytest.importorskip("OpenEXR")
    kind = kinds[name]
    valid = kind.path.read_bytes()

    @settings(
        max_examples=max(EXAMPLES // 8, 1) if kind.slow else EXAMPLES,
        deadline=1000 * SECONDS,
        derandomize="FLARE_FUZZ" not in os.environ,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(kind.damage, min_size=1, max_size=2))
    def check(steps: list[damage.Damage]) -> None:
        data = valid
        for step in steps:
            try:
                data = step(data)
            except Exception:
                break  # the first damage left nothing that the second one knows how to damage
        outcome = read_damaged(kind, data)
        tried[name, outcome] += 1

    try:
        check()
    finally:
        written(kind.path, valid)
    kind.read(kind.path)  # the tries left no mark


def read_damaged(kind: Kind, data: bytes) -> str:
    written(kind.path, data)
    try:
        with little_memory():
            kind.read(kind.path)
    except FlareError as error:
        is_a_sentence(error)
        return "refused"
    return "accepted"


def is_a_sentence(error: FlareError) -> None:
    assert error.message.strip()
    assert error.hint.strip()
    assert len(error.message) < 1010


def test_all_kinds_are_named(kinds: dict[str, Any]):
    assert sorted(kinds) == sorted(NAMES)
