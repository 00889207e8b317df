"""Hints of an evaluation, each from scores and turns that call for it alone."""

from dataclasses import replace
from math import radians
from typing import Any

import pytest
import torch

from flare_cli.render.camera import Cameras
from flare_cli.score.metrics import PictureScore
from flare_cli.show.eval_hints import eval_hints
from flare_cli.subject.track import Track

GOOD = PictureScore(
    mae=0.01, psnr_foreground=30.0, psnr_all_pixels=35.0, psnr_with_clothes=29.5, ssim=0.98, lpips=0.03,
    silhouette_iou=0.985,
)  # fmt: skip


def turned(*yaw: float) -> Track:
    """Frames in which the head is turned by so many degrees, before a camera straight ahead of it."""
    n = len(yaw)
    pose = torch.zeros(n, 5, 3)
    pose[:, 0, 1] = torch.tensor([radians(angle) for angle in yaw])
    view = torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.8]]])
    camera = Cameras(intrinsics=torch.tensor([[500.0, 500, 32, 32]]), camera_from_world=view, height=64, width=64)
    return Track(
        head="open-head", frames=torch.arange(1, n + 1), shape=torch.zeros(3), expression=torch.zeros(n, 2), pose=pose,
        translation=torch.zeros(n, 3), camera=camera, fps=25.0,
    )  # fmt: skip


def report(**changes: Any) -> dict[str, Any]:
    mean = {name: getattr(GOOD, name) for name in PictureScore.__slots__}
    return {"mean": mean | changes.pop("mean", {}), "lpips": "measured", **changes}


def test_what_is_good_gets_no_hint():
    assert eval_hints(report(), [GOOD] * 3, turned(0, 5, -5), turned(-10, 10)) == []


@pytest.mark.parametrize(("angle", "psnr", "told"), [(20, 27.0, 1), (20, 29.0, 0), (11, 27.0, 0)])
def test_turns_beyond_training_are_told_where_they_cost(angle: float, psnr: float, told: int):
    scores = [GOOD, GOOD, replace(GOOD, psnr_foreground=psnr)]
    hints = eval_hints(report(), scores, turned(0, 5, angle), turned(-10, 10))
    assert len(hints) == told
    if told:
        assert hints[0].found == "1 frames turn further than those that were trained on, and are 3.0 dB worse"
    assert eval_hints(report(), scores, turned(0, 5, angle), None) == []


def test_a_recording_of_other_turns_only_is_told():
    (hint,) = eval_hints(report(), [GOOD] * 2, turned(30, 35), turned(-10, 10))
    assert hint.found.startswith("all frames")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mean": {"psnr_with_clothes": 26.0}}, "with clothes it is 4.0 dB worse"),
        ({"refined_on_test_pixels": {"psnr_foreground": 31.0}}, "refining the track on these frames' own pixels gains"),
        ({"mean": {"lpips": None}, "lpips": "needs a file"}, "LPIPS was not measured"),
    ],
)
def test_what_the_means_show_is_told(changes: dict[str, Any], found: str):
    (hint,) = eval_hints(report(**changes), [GOOD], turned(0), None)
    assert hint.found.startswith(found)
    assert hint.advice


def test_outlines_that_are_off_are_counted():
    scores = [GOOD, replace(GOOD, silhouette_iou=0.9)]
    (hint,) = eval_hints(report(), scores, turned(0, 1), None)
    assert hint.found == "the outline is off in 1 of 2 frames (IoU below 0.96)"
