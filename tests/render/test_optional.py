import pytest
import torch

from flare_cli.errors import BackendError
from flare_cli.render.optional import NVDIFFRAST, Package, require_cuda

PACKAGE = Package(module="surely_absent", distributions=("surely-absent",), licence="MIT", install="pip install it")


def test_a_missing_package_is_one_line_with_the_command_and_the_licence():
    with pytest.raises(BackendError, match="surely_absent is not installed") as refusal:
        PACKAGE.load()
    assert "pip install it" in refusal.value.hint
    assert "MIT" in refusal.value.hint


def test_a_package_built_for_another_torch_is_told(monkeypatch, tmp_path):
    (tmp_path / "surely_absent.py").write_text("raise ImportError('libc10_cuda.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert PACKAGE.installed
    assert PACKAGE.version == "of unknown version"
    with pytest.raises(BackendError, match=r"does not load: libc10_cuda\.so") as refusal:
        PACKAGE.load()
    assert torch.__version__ in refusal.value.hint


def test_a_package_for_gpus_is_refused_on_a_cpu():
    with pytest.raises(BackendError, match="GPUs only, not on cpu"):
        require_cuda("nvdiffrast", torch.device("cpu"), "use auto")


def test_the_licence_that_forbids_commerce_is_named():
    assert "non-commercial" in NVDIFFRAST.licence
