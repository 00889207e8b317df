from pathlib import Path

import pytest

from flare_cli.data.atomic import replace_whole, write_text_whole


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


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_file_stays_when_writing_ends_early(stop: BaseException, tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("old")
    with pytest.raises(type(stop)):
        write_half(path, stop)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
