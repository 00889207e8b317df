"""`flare preprocess DIR` and `flare convert`: a data set becomes a subject and goes out again."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.formats.scene import make_scene, toy_head
from support.formats.writers import (
    write_imavatar,
    write_insta,
    write_metrical_tracker,
    write_neural_head_avatars,
    write_vhap,
)

from flare_cli.apps import import_dataset as dataset
from flare_cli.apps.convert import ConvertRequest, convert
from flare_cli.apps.import_dataset import ImportRequest, import_dataset
from flare_cli.data.image import read_grey, read_rgb
from flare_cli.errors import HeadError, SubjectError
from flare_cli.head.model import HeadModel
from flare_cli.subject.folder import load_subject


@pytest.fixture(autouse=True)
def toy_heads(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> HeadModel:
        if name == "flame-2023-open":
            raise HeadError(f"no head model is called {name!r}", hint="")
        return toy_head(name)

    monkeypatch.setattr(dataset, "load_head", load)


@pytest.mark.parametrize(
    "write", [write_imavatar, write_vhap, write_metrical_tracker, write_insta, write_neural_head_avatars]
)
def test_a_data_set_becomes_a_subject_with_all_its_pictures(write, tmp_path):
    scene = make_scene(4)
    write(tmp_path / "data", scene)
    result = import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me"))
    assert result.frames == 4
    (proof,) = result.proofs.values()
    assert proof.iou is not None
    assert proof.iou > 0.98
    subject = load_subject(tmp_path / "me")
    masks = scene.masks()
    for i, number in enumerate(subject.track.frames.tolist()):
        image, mask = read_rgb(subject.image_path(number)), read_grey(subject.mask_path(number))
        assert image[0, 0].tolist() == [i, i, i]  # the frame's number is in its corner
        np.testing.assert_array_equal(mask, masks[i])
        labels = read_grey(subject.label_path(number))
        assert (labels[mask == 255] > 0).mean() > 0.95
    assert all(name.split("/")[-1] for name in subject.source["frames"])


def test_refused_imports_leave_nothing(tmp_path):
    write_imavatar(tmp_path / "data", make_scene(3))
    for path in (tmp_path / "data" / "mask").iterdir():
        mask = np.zeros_like(read_grey(path))
        mask[:8, :8] = 255
        cv2.imwrite(str(path), mask)
    with pytest.raises(SubjectError, match="silhouette IoU"):
        import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me"))
    assert not (tmp_path / "me").exists()


def test_masks_of_another_size_are_refused(tmp_path):
    write_imavatar(tmp_path / "data", make_scene(3))
    path = tmp_path / "data" / "mask" / "1.png"
    cv2.imwrite(str(path), read_grey(path)[::2, ::2])
    with pytest.raises(SubjectError, match="mixed resolutions"):
        import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me"))


def test_the_wrong_edition_is_named(tmp_path):
    write_imavatar(tmp_path / "data", make_scene(2))
    with pytest.raises(SubjectError, match="flame-2020, not of flame-2023"):
        import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me", head="flame-2023"))


def test_existing_subjects_are_kept_unless_told(tmp_path):
    write_imavatar(tmp_path / "data", make_scene(2))
    request = ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me")
    import_dataset(request)
    with pytest.raises(SubjectError, match="holds a subject already"):
        import_dataset(request)
    import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me", overwrite=True))
    with pytest.raises(SubjectError, match="in the data set"):
        import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "data" / "me"))


def test_a_subject_goes_out_and_comes_back(tmp_path: Path):
    for name, seed in (("a", 1), ("test", 1)):
        write_imavatar(tmp_path / "data" / name, make_scene(2, seed=seed))
    import_dataset(ImportRequest(dataset=tmp_path / "data", out=tmp_path / "me"))
    result = convert(ConvertRequest(subject=tmp_path / "me", to="imavatar", out=tmp_path / "out"))
    assert result.frames == 4
    again = import_dataset(ImportRequest(dataset=tmp_path / "out", out=tmp_path / "again"))
    assert again.held_out == 2
    with pytest.raises(SubjectError, match="not a layout"):
        convert(ConvertRequest(subject=tmp_path / "me", to="nerf", out=tmp_path / "x"))
