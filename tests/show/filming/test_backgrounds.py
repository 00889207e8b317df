"""What is behind the avatar: an empty plate of a recording, a blurred environment, words for all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.data.celebamask import OCCLUDED
from flare_cli.data.image import write_png
from flare_cli.errors import FlareError
from flare_cli.render.camera import look_at
from flare_cli.render.light.environment import prefilter
from flare_cli.show.filming.backgrounds import (
    EnvironmentBehind,
    PictureBehind,
    RecordingBehind,
    empty_plate,
    parse_background,
)
from flare_cli.show.track_pictures import to_bytes
from flare_cli.subject.folder import Subject

SIZE = 64


def test_the_plate_is_what_was_behind_a_head_that_moved(toy_frames, tmp_path: Path):
    row, column = np.mgrid[:SIZE, :SIZE]
    room = np.stack([3 * row, 2 * column, 255 - 3 * row], -1).clip(0, 255).astype(np.uint8)
    for n, left in enumerate((4, 10, 16, 22, 28, 34), 1):
        head = (abs(column - left - 9) < 8) & (abs(row - 32) < 12)
        picture = np.where(head[..., None], np.uint8(200), room)
        hand = head & (row > 30) & (n == 3)  # before the head: no part of the mask, and none of the room
        label = np.where(hand, np.uint8(OCCLUDED), np.uint8(0))
        mask = (255 * (head & ~hand)).astype(np.uint8)
        for kind, values in (("image", picture), ("mask", mask), ("semantic", label)):
            (tmp_path / kind).mkdir(exist_ok=True)
            write_png(tmp_path / kind / f"{n}.png", values)
    subject = Subject(folder=tmp_path, track=toy_frames.track)
    plate = empty_plate(subject, (SIZE, SIZE))
    np.testing.assert_array_equal(plate, room)
    never_empty = replace(subject, track=subject.track[:1])
    filled = empty_plate(never_empty, (SIZE, SIZE)).astype(int)
    assert abs(filled - room).max() < 60  # made up from the rim: no trace of the head's 200 grey
    assert abs(filled - room)[0].max() == 0


def test_a_recording_is_shown_frame_by_frame(tmp_path: Path):
    pictures = np.random.default_rng(0).integers(0, 255, (3, 8, 12, 3), dtype=np.uint8)
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    for path, picture in zip(paths, pictures, strict=True):
        write_png(path, picture)
    eye = torch.tensor([[0.0, 0, 1]])
    cameras = look_at(eye, 0 * eye, fov_y=0.5, height=8, width=12).expand(2)
    np.testing.assert_array_equal(to_bytes(RecordingBehind(paths).behind(cameras, slice(1, 3))), pictures[1:])


def test_a_blurred_environment_is_even_where_the_sharp_one_is_not():
    envmap = torch.zeros(32, 64, 3)
    envmap[:, ::4] = 4.0
    light = prefilter(envmap)
    eye = torch.tensor([[0.0, 0, 1], [1.0, 0, 0]])
    cameras = look_at(eye, 0 * eye, fov_y=0.5, height=32, width=32)
    sharp, blurred = (EnvironmentBehind(light, r).behind(cameras, slice(0, 2)) for r in (0.0, 0.35))
    assert sharp.std() > 1
    assert blurred.std() < 0.2
    assert float(blurred.mean()) == pytest.approx(1, abs=0.1)
    still = EnvironmentBehind(light).behind(cameras[:1].expand(2), slice(0, 2))
    torch.testing.assert_close(still, sharp[:1])


def test_words_for_backgrounds():
    assert parse_background("blur") == "blur"
    assert parse_background("#000000") == (0, 0, 0)
    red = PictureBehind(torch.tensor(parse_background("#ff0000")).view(1, 1, 1, 3))
    eye = torch.tensor([[0.0, 0, 1]])
    assert red.behind(look_at(eye, 0 * eye, fov_y=0.5, height=4, width=6), slice(0, 1)).shape == (1, 4, 6, 3)
    with pytest.raises(FlareError, match="'forest' is not a background"):
        parse_background("forest")
