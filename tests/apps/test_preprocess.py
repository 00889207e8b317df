"""From a video to a subject folder, on a recording made of one public-domain portrait (NASA)."""

import csv
import html
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from flare_cli.apps.preprocess import preprocess
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.data.video import VideoReader, open_video
from flare_cli.errors import FlareError, HeadError, OutOfMemoryError, SubjectError, VideoError
from flare_cli.head.open_head import load_open_head
from flare_cli.subject.folder import load_subject
from flare_cli.track.request import PreprocessRequest
from flare_cli.track.stages import track as tracking

FRAMES, WITHOUT_FACE, SIZE = 14, 6, 128


def write_video(path: Path, pictures: list[np.ndarray]) -> Path:
    with open_video(path, fps=25, crf=10) as video:
        for picture in pictures:
            video.write(picture)
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """The portrait drifts to the right; one frame in between shows nobody."""
    portrait = data.astronaut()
    pictures = [portrait[:280, 100 - k : 340 - k] for k in range(FRAMES)]
    pictures[WITHOUT_FACE - 1] = np.full_like(pictures[0], 120)
    return write_video(tmp_path_factory.mktemp("recording") / "portrait.mp4", pictures)


@pytest.fixture(scope="module")
def made(recording, tmp_path_factory):
    """A subject whose making was cut off while it segmented, and then went on; the stages of the second run, and the
    masks of the first."""
    request = PreprocessRequest(video=recording, out=tmp_path_factory.mktemp("made") / "subject", size=SIZE)

    def cut_off(stage: str, done: int, total: int) -> None:
        if stage == "labels and preview" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(request, cut_off)
    assert not (request.out / "flame_params.json").exists()
    segmented = {mask.name: mask.stat().st_mtime_ns for mask in (request.out / ".work" / "mask").iterdir()}
    seen: list[tuple[str, int]] = []
    result = preprocess(request, lambda stage, done, total: seen.append((stage, done)))
    return request, result, seen, segmented


def test_every_frame_with_a_face_is_kept_and_the_other_is_listed(made):
    _, result, *_ = made
    assert (result.frames, result.kept) == (FRAMES, FRAMES - 1)
    assert result.excluded == [(WITHOUT_FACE, "no face")]


def test_landmarks_are_met_within_three_percent_of_the_eye_distance(made):
    _, result, *_ = made
    assert result.median_error < 0.03


def test_the_folder_is_a_subject_with_all_its_pictures(made):
    request, *_ = made
    subject = load_subject(request.out)
    assert subject.track.frames.tolist() == [n for n in range(1, FRAMES + 1) if n != WITHOUT_FACE]
    assert subject.track.fps == pytest.approx(25, rel=0.01)
    for number in subject.track.frames.tolist():
        assert read_rgb(subject.image_path(number)).shape == (SIZE, SIZE, 3)
        mask, labels = read_grey(subject.mask_path(number)), read_grey(subject.label_path(number))
        assert mask.shape == labels.shape == (SIZE, SIZE)
        assert 0.15 < (mask > 127).mean() < 0.7
        assert {1, 10, 17} <= set(np.unique(labels).tolist()) <= set(range(19))


def test_the_tracked_head_follows_the_drift(made):
    request, *_ = made
    track = load_subject(request.out).track
    eyes = track.camera.expand(len(track)).project(track.translation[:, None])[:, 0, 0]
    per_frame = np.polyfit(track.frames.numpy(), eyes.numpy(), 1)[0]
    # One source pixel a frame; the source's 240 columns and 280 rows became 128 pixels or a part of them did.
    assert 0.4 < per_frame < 1.2


def test_the_second_run_goes_on_where_the_first_was_cut_off(made):
    request, _, seen, segmented = made
    assert {stage for stage, _ in seen} == {"labels and preview"}
    assert len(segmented) >= 4
    assert segmented.items() <= {m.name: m.stat().st_mtime_ns for m in (request.out / "mask").iterdir()}.items()


def test_a_report_a_table_a_sheet_and_a_film_are_made(made):
    request, result, *_ = made
    preview = request.out / "preview"
    report = json.loads((preview / "report.json").read_text())
    assert report["kept"] == result.kept
    assert report["excluded"] == [{"frame": WITHOUT_FACE, "reason": "no face"}]
    with (preview / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FRAMES
    assert rows[WITHOUT_FACE - 1]["excluded"] == "no face"
    assert rows[WITHOUT_FACE - 1]["yaw"] == ""
    assert abs(float(rows[0]["yaw"])) < 30
    assert 0.1 < float(rows[0]["luminance"]) < 0.9
    assert float(rows[0]["error"]) < 0.04
    assert len(list(VideoReader(preview / "overlay.mp4"))) == result.kept
    assert read_rgb(preview / "contact_sheet.png").shape[1] == 1200


def test_what_a_still_portrait_lacks_is_told(made):
    request, result, *_ = made
    told = {check.name: check.verdict for check in result.checks}
    assert (told["frames"], told["turning"]) == ("poor", "poor")  # fourteen frames of one picture
    assert (told["teeth"], told["flicker"], told["matte"]) == ("good", "good", "good")
    assert json.loads((request.out / "preview" / "report.json").read_text())["checks"] == [
        asdict(check) for check in result.checks
    ]
    page = result.page.read_text(encoding="utf-8")
    assert all(check.advice in html.unescape(page) for check in result.checks)
    assert "<script" not in page


def test_a_finished_subject_is_up_to_date(made):
    request, result, *_ = made
    seen: list[str] = []
    again = preprocess(request, lambda stage, done, total: seen.append(stage))
    assert again.up_to_date
    assert seen == []
    assert (again.kept, again.excluded, again.focal) == (result.kept, result.excluded, pytest.approx(result.focal))
    assert (again.checks, again.page) == (result.checks, result.page)


def test_a_subject_of_an_earlier_version_has_no_checks_and_damaged_ones_are_told(made, tmp_path):
    request, *_ = made
    older = tmp_path / "older"
    shutil.copytree(request.out, older)
    sidecar = json.loads((older / "flare.json").read_text())
    for checks in (None, 5, [3], [{"name": "teeth"}], [{"verdict": "splendid"}]):
        del sidecar["source"]["checks"]
        if checks is None:
            (older / "preview" / "report.html").unlink()
            (older / "flare.json").write_text(json.dumps(sidecar))
            again = preprocess(replace(request, out=older))
            assert (again.up_to_date, again.checks, again.page) == (True, [], None)
        sidecar["source"]["checks"] = checks
        (older / "flare.json").write_text(json.dumps(sidecar))
        with pytest.raises(SubjectError, match="checks"):
            preprocess(replace(request, out=older))


def test_another_setting_does_not_overwrite_a_subject(made):
    request, *_ = made
    other = PreprocessRequest(video=request.video, out=request.out, size=64)
    with pytest.raises(SubjectError, match="other settings"):
        preprocess(other)
    assert load_subject(request.out).track.camera.width == SIZE


def test_a_gpu_without_room_keeps_the_work(recording, tmp_path, monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("flare_cli.track.pipeline.segment_frames", no_room)
    with pytest.raises(OutOfMemoryError) as caught:
        preprocess(PreprocessRequest(video=recording, out=tmp_path / "subject", size=64))
    assert "--device cpu" in caught.value.hint
    assert (tmp_path / "subject" / ".work" / "track.npz").is_file()


def test_pictures_that_cannot_be_written_end_the_tracking_beside_them(recording, tmp_path, monkeypatch):
    def no_space(*_: object) -> None:
        raise OSError("no space left")

    def endless(*arguments: Any):
        progress: Callable[[int, int], None] = arguments[-1]
        while True:
            progress(0, 1)

    monkeypatch.setattr("flare_cli.track.pipeline.crop_pictures", no_space)
    monkeypatch.setattr("flare_cli.track.pipeline.track_head", endless)
    with pytest.raises(OSError, match="no space"):
        preprocess(PreprocessRequest(video=recording, out=tmp_path / "subject", size=64))
    assert (tmp_path / "subject" / ".work" / "landmarks.npz").is_file()


def test_a_frame_that_could_not_be_tracked_has_no_picture(recording, tmp_path, monkeypatch):
    def one_bad(*args: object) -> dict[str, np.ndarray]:
        arrays = solved(*args)
        arrays["error"][2] = 1.0
        return arrays

    solved = tracking._solved
    monkeypatch.setattr(tracking, "_solved", one_bad)
    request = PreprocessRequest(video=recording, out=tmp_path / "subject", size=64)
    result = preprocess(request)
    assert [number for number, _ in result.excluded] == [3, WITHOUT_FACE]
    subject = load_subject(request.out)
    for kind in ("image", "mask", "semantic"):
        there = {int(path.stem) for path in (request.out / kind).iterdir()}
        assert there == set(subject.track.frames.tolist()) == set(range(1, FRAMES + 1)) - {3, WITHOUT_FACE}


def test_an_added_head_with_other_landmarks_is_another_setting(made, monkeypatch):
    """A head's own digest leaves its landmarks out, so that avatars outlive better landmarks; tracks must not."""
    head = load_open_head()
    moved = replace(head.landmarks, spread=head.landmarks.spread + 0.001)
    request, result, *_ = made
    keys: list[str] = []
    for landmarks in (head.landmarks, moved, head.landmarks):
        added = replace(head, name="flame-2020", landmarks=landmarks)
        monkeypatch.setattr("flare_cli.track.pipeline.load_head", lambda name, added=added: added)
        monkeypatch.setattr("flare_cli.track.pipeline._finished", lambda request, key: keys.append(key) or result)
        preprocess(request)
    assert keys[0] == keys[2] != keys[1]


def test_a_folder_of_something_else_is_left_alone(recording, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SubjectError, match="not empty"):
        preprocess(PreprocessRequest(video=recording, out=tmp_path))
    with pytest.raises(SubjectError, match="not empty"):
        preprocess(PreprocessRequest(video=recording, out=tmp_path, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def nobody(folder: Path) -> Path:
    ramp = np.tile(np.linspace(0, 255, 160, dtype=np.uint8), (120, 1))
    return write_video(folder / "nobody.mp4", [np.stack([np.roll(ramp, k, 1)] * 3, -1) for k in range(12)])


def text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("not a video")
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def truncated(folder: Path) -> Path:
    whole = nobody(folder).read_bytes()
    path = folder / "truncated.mp4"
    path.write_bytes(whole[: whole.index(b"mdat") + 10])
    return path


@pytest.mark.parametrize("bad", [nobody, text, missing, truncated])
def test_a_bad_video_is_one_clear_error_and_leaves_nothing(bad, tmp_path):
    out = tmp_path / "subject"
    with pytest.raises(VideoError) as caught:
        preprocess(PreprocessRequest(video=bad(tmp_path), out=out))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert not out.exists()


def test_a_bad_video_leaves_an_empty_folder_as_it_was(tmp_path):
    out = tmp_path / "subject"
    out.mkdir()
    with pytest.raises(FlareError):
        preprocess(PreprocessRequest(video=nobody(tmp_path), out=out))
    assert list(out.iterdir()) == []


def test_an_unknown_head_is_said_before_any_work(recording, tmp_path):
    with pytest.raises(HeadError):
        preprocess(PreprocessRequest(video=recording, out=tmp_path / "subject", head="hydra"))
    assert not (tmp_path / "subject").exists()
