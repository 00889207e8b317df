import os
import sys

from flare_cli.apps.backend_check import check_optional
from flare_cli.apps.doctor import examine
from flare_cli.render.optional import PYTORCH3D


def test_everything_that_is_needed_is_here():
    assert [f.name for f in examine() if f.needed and not f.present] == []


def test_what_is_missing_comes_with_advice():
    assert [f.name for f in examine() if not f.present and not f.advice] == []


def test_the_rasterizer_really_draws():
    (finding,) = [f for f in examine() if f.name == "rasterizer"]
    assert "32 pixels" in finding.state  # half of an 8 x 8 pixel box


def test_every_backend_is_named_with_version_and_licence():
    findings = {f.name: f for f in examine()}
    assert "auto takes warp" in findings["rasterizer"].state
    assert "auto takes warp" in findings["hash grid"].state
    assert "Apache-2.0" in findings["rasterizer"].state
    for name in ("nvdiffrast", "pytorch3d", "torch grid", "tinycudann"):
        state = findings[name].state
        assert "encodes" in state or "draws" in state or "installed" in state or "GPUs only" in state


def test_a_backend_that_ends_its_process_is_named(monkeypatch, tmp_path):
    (tmp_path / "pytorch3d.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    found = check_optional("rasterizer", PYTORCH3D)
    assert not found.runs
    assert "crashes (SIGSEGV)" in found.state


def test_the_licence_that_forbids_commerce_is_named():
    (finding,) = [f for f in examine() if f.name == "nvdiffrast"]
    assert "non-commercial" in finding.state + finding.advice


def test_an_added_head_is_listed(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "flame-2020.safetensors").write_bytes(b"")
    (finding,) = [f for f in examine() if f.name == "other heads"]
    assert finding.state == "flame-2020"
