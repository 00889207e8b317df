"""Import -> export -> import changes nothing, and other programs find what they look for."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.formats.scene import HEIGHT, WIDTH, make_scene, toy_head
from support.formats.writers import write_imavatar, write_vhap

from flare_cli.data.image import read_rgb, write_png
from flare_cli.datasets.conventions import place
from flare_cli.datasets.exporters.gaussian_avatars import export_gaussian_avatars
from flare_cli.datasets.exporters.imavatar import export_imavatar
from flare_cli.datasets.formats import read_dataset
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track

HEADS = {name: toy_head(name) for name in ("flame-2020", "flame-2023")}


def brought_in(folder: Path, head: str) -> Subject:
    return place(read_dataset(folder), HEADS[head], folder=folder, fps=25)


def subject_in(folder: Path, seed: int, *, videos: int, split: bool, expressions: int, head: str) -> Subject:
    """A subject of random numbers with small pictures."""
    chance = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=chance)

    N = 3 * videos
    shape, expression = torch.zeros(300), torch.zeros(N, 100)
    shape[:100], expression[:, :expressions] = random(100), random(N, expressions)
    rotation = torch.linalg.qr(random(videos, 3, 3).double())[0]
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    offset = torch.cat([0.1 * random(videos, 2), 1 + random(videos, 1).abs()], 1)
    track = Track(
        head=head,
        frames=torch.arange(1, N + 1),
        shape=shape,
        expression=expression,
        pose=random(N, 5, 3),
        translation=0.1 * random(N, 3),
        camera=Cameras(
            intrinsics=torch.tensor([100.0, 101.0, 4.0, 5.0]) + random(videos, 4),
            camera_from_world=torch.cat([rotation.float(), offset[..., None]], 2),
            height=6,
            width=8,
        ),
        fps=25.0,
        video=torch.arange(videos).repeat_interleave(3) if videos > 1 else None,
    )
    for number in range(1, N + 1):
        for name, fill in (("image", (number, 0, 0)), ("mask", 255), ("semantic", 1)):
            shape_of = (6, 8, 3) if name == "image" else (6, 8)
            write_png(folder / name / f"{number}.png", np.full(shape_of, fill, np.uint8))
    names = tuple(f"v{v}" for v in range(videos)) if videos > 1 else ()
    return Subject(
        folder=folder, track=track, videos=names, held_out=tuple(range(2 * videos + 1, N + 1)) if split else None
    )


def assert_same(after: Subject, before: Subject) -> None:
    """Coefficients to the bit; positions and cameras to float32 rounding of metres."""
    for name in ("frames", "shape", "expression"):
        torch.testing.assert_close(getattr(after.track, name), getattr(before.track, name), rtol=0, atol=0)
    torch.testing.assert_close(after.track.pose, before.track.pose, rtol=0, atol=0)
    torch.testing.assert_close(after.track.translation, before.track.translation, rtol=0, atol=4e-7)
    torch.testing.assert_close(after.track.camera.intrinsics, before.track.camera.intrinsics, rtol=2e-7, atol=0)
    torch.testing.assert_close(
        after.track.camera.camera_from_world, before.track.camera.camera_from_world, rtol=0, atol=5e-7
    )
    assert (after.track.video is None) == (before.track.video is None)
    if before.track.video is not None:
        assert after.track.video.tolist() == before.track.video.tolist()
    assert after.held_out == before.held_out


ROUNDS = {
    "imavatar": (export_imavatar, "flame-2020", 50),
    "gaussian-avatars": (export_gaussian_avatars, "flame-2023", 100),
}


@pytest.mark.parametrize("layout", ROUNDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), videos=st.integers(1, 3), split=st.booleans())
def test_import_export_import_changes_nothing(layout, seed, videos, split):
    export, head, expressions = ROUNDS[layout]
    with tempfile.TemporaryDirectory() as place_:
        root = Path(place_)
        made = subject_in(root / "made", seed, videos=videos, split=split, expressions=expressions, head=head)
        assert export(made, root / "first").notes in (
            (),
            ("the pictures are not square: IMavatar and FLARE themselves read square ones only",),
        )
        first = brought_in(root / "first", head)
        first = replace(first, folder=root / "made")
        export(first, root / "second")
        second = brought_in(root / "second", head)
    assert_same(second, first)

    # What the first export saw is the same motion as well: where the root joint was seen has not moved.
    def positions(subject: Subject) -> torch.Tensor:
        view = subject.track.cameras().camera_from_world
        return (view[:, :, :3] @ subject.track.translation[..., None])[..., 0] + view[:, :, 3]

    by_number = positions(first)
    if layout == "gaussian-avatars" or not split:  # a split by folder puts the held-out frames last
        torch.testing.assert_close(by_number, positions(made), rtol=0, atol=2e-6)


@pytest.mark.parametrize("write", [write_imavatar, write_vhap])
def test_a_written_data_set_survives_a_round(write, tmp_path):
    scene = make_scene(4)
    write(tmp_path / "data", scene)
    head, export = (
        ("flame-2020", export_imavatar) if write is write_imavatar else ("flame-2023", export_gaussian_avatars)
    )
    first = brought_in(tmp_path / "data", head)
    for i, number in enumerate(first.track.frames.tolist()):
        write_png(tmp_path / "s" / "image" / f"{number}.png", np.full((HEIGHT, WIDTH, 3), i, np.uint8))
        write_png(tmp_path / "s" / "mask" / f"{number}.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    first = replace(first, folder=tmp_path / "s")
    export(first, tmp_path / "out")
    assert_same(brought_in(tmp_path / "out", head), first)


def test_gaussian_avatars_finds_what_it_demands(tmp_path):
    subject = subject_in(tmp_path / "s", 3, videos=1, split=False, expressions=100, head="flame-2023")
    write_png(tmp_path / "s" / "mask" / "1.png", np.zeros((6, 8), np.uint8))
    export_gaussian_avatars(subject, tmp_path / "out")
    arrays = dict(np.load(tmp_path / "out" / "flame_param" / "00000.npz"))
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
    assert arrays["dynamic_offset"].shape == (1, 5143, 3)
    assert (arrays["shape"].shape, arrays["expr"].shape, arrays["eyes_pose"].shape) == ((300,), (1, 100), (1, 6))
    canonical = np.load(tmp_path / "out" / "canonical_flame_param.npz")
    np.testing.assert_allclose(canonical["jaw_pose"], [[0.3, 0, 0]], rtol=1e-6)
    whole = json.loads((tmp_path / "out" / "transforms.json").read_text())
    assert whole["timestep_indices"][0] == 0
    for frame in whole["frames"]:
        assert all((tmp_path / "out" / frame[k]).is_file() for k in ("file_path", "fg_mask_path", "flame_param_path"))
    assert read_rgb(tmp_path / "out" / "images" / "00000_00.png").min() == 255  # an empty mask leaves white
    # GaussianAvatars: negating columns 1 and 2 of the rotation gives OpenCV camera-to-world.
    transform = np.array(whole["frames"][0]["transform_matrix"])
    transform[:3, 1:3] *= -1
    np.testing.assert_allclose(np.linalg.inv(transform)[:3], subject.track.camera.camera_from_world[0], atol=1e-5)


def test_what_does_not_fit_is_said(tmp_path):
    subject = subject_in(tmp_path / "s", 1, videos=1, split=False, expressions=60, head="flame-2020")
    assert any("beyond the first 50" in note for note in export_imavatar(subject, tmp_path / "out").notes)
    assert any("FLAME 2023" in note for note in export_gaussian_avatars(subject, tmp_path / "ga").notes)


def test_other_heads_and_full_folders_are_refused(tmp_path):
    subject = subject_in(tmp_path / "s", 1, videos=1, split=False, expressions=10, head="open-head")
    with pytest.raises(SubjectError, match="tracked with open-head"):
        export_imavatar(subject, tmp_path / "out")
    flame = replace(subject, track=replace(subject.track, head="flame-2020"))
    with pytest.raises(SubjectError, match="not empty"):
        export_imavatar(flame, tmp_path / "s")
