from pathlib import Path

import pytest

from flare_cli.data.atomic import replace_whole, scratch_beside, write_text_whole
from flare_cli.errors import FileError


def test_the_new_file_is_there_when_it_is_whole(tmp_path: Path):
    path = tmp_path / "new" / "config.toml"
    write_text_whole(path, "größe = 1\n")
    write_text_whole(path, "größe = 2\n")
    assert path.read_text(encoding="utf-8") == "größe = 2\n"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path, stop: BaseException) -> None:
    with replace_whole(path) as partial:
        partial.write_text("half of the n")
        raise stop


@pytest.mark.parametrize(
    ("stop", "seen"),
    [(OSError(28, "No space left on device"), FileError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["disk full", "Ctrl-C"],
)
def test_the_old_file_stays_when_writing_ends_early(stop: BaseException, seen: type, tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("old")
    with pytest.raises(seen):
        write_half(path, stop)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path):
    with pytest.raises(FileError, match=r"config\.toml: no space left on device") as caught:
        write_half(tmp_path / "config.toml", OSError(28, "No space left on device"))
    assert "free some space" in caught.value.hint


def test_a_name_that_is_taken_or_too_long_is_told(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, what in (
        (tmp_path / "folder", "folder: is a directory"),
        (tmp_path / "file" / "inside", "file: "),
        (tmp_path / ("x" * 300), "file name too long"),
    ):
        with pytest.raises(FileError, match=what):
            write_text_whole(path, "text")


def test_a_scratch_folder_is_empty_and_does_not_stay(tmp_path: Path):
    target, seen = tmp_path / "new" / "me.glb", []
    with scratch_beside(target) as scratch:
        (scratch / "half").write_text("of a killed command")
        with scratch_beside(target) as again:  # the next one: nobody has removed it
            seen.append((again, list(again.iterdir())))
    assert seen == [(scratch, [])]
    with pytest.raises(FileError, match=r"me\.glb"), scratch_beside(target) as scratch:
        raise OSError(28, "No space left on device")
    assert list(target.parent.iterdir()) == []
