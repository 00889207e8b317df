import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_cli.errors import BackendError
from flare_cli.render.kernel_cache import other_cache

ADD = """
import torch, warp as wp
from flare_cli.render.geometry import vertex_normals
print(vertex_normals(torch.eye(3)[None], torch.tensor([[0, 1, 2]], dtype=torch.int32)).shape)
print(wp.config.kernel_cache_dir)
"""


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home that even root can't write: it is below a file. Returns what stands for the system's temporary folder."""
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    for name in ("XDG_CACHE_HOME", "WARP_CACHE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / "tmp"


@pytest.mark.skipif(sys.platform == "win32", reason="HOME and TMPDIR are not read there")
def test_kernels_run_where_home_cannot_be_written(homeless: Path):
    done = subprocess.run([sys.executable, "-c", ADD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shape, folder = done.stdout.splitlines()
    assert shape == "torch.Size([1, 3, 3])"
    assert Path(folder).is_relative_to(homeless)
    assert done.stderr == ""


def test_the_chosen_cache_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WARP_CACHE_PATH", str(tmp_path / "cache"))
    assert other_cache() is None


@pytest.mark.skipif(sys.platform == "win32", reason="temporary folders are a user's own there")
def test_a_folder_that_others_can_write_is_not_trusted(homeless: Path):
    folder = homeless / f"flare-warp-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BackendError, match="no place for compiled kernels") as caught:
        other_cache()
    assert "WARP_CACHE_PATH" in caught.value.hint
