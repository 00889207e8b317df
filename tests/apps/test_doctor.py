"""What `flare doctor` finds: here and absent, with version, state, advice and exit code."""

import importlib.metadata
import json
import os
import sys

import pytest
import torch
import warp as wp
from typer.testing import CliRunner

from flare_cli.apps import doctor
from flare_cli.apps.bench.backend_check import check_optional
from flare_cli.apps.doctor import Finding, examine
from flare_cli.cli.main import app
from flare_cli.errors import BackendError, HeadError
from flare_cli.render.optional import PYTORCH3D


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def without(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    """As if pip had not installed `absent`."""
    here = importlib.metadata.version

    def version(name: str) -> str:
        if name == absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return here(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


# What is looked at


def test_everything_is_looked_at_once(findings):
    assert list(findings) == [
        *("machine", "torch", "GPU", "warp-lang"),
        *("rasterizer", "nvdiffrast", "pytorch3d", "hash grid", "torch grid", "tinycudann", "networks"),
        *(
            "open head",
            "other heads",
            "ai-edge-litert",
            "imageio-ffmpeg",
            "LPIPS",
            "perceptual loss",
            "OpenEXR",
            "usd-core",
            "mitsuba",
            "ray",
        ),
    ]
    needed = {name for name, finding in findings.items() if finding.needed}
    assert needed == {
        *("machine", "torch", "warp-lang", "rasterizer", "hash grid", "open head", "ai-edge-litert", "imageio-ffmpeg")
    }


def test_everything_that_is_needed_is_here(findings):
    assert [f.name for f in findings.values() if f.needed and not f.present] == []


def test_what_is_missing_comes_with_advice(findings):
    assert [f.name for f in findings.values() if not f.present and not f.advice] == []
    assert {f.name for f in findings.values() if not f.present} <= {
        *(
            "GPU",
            "nvdiffrast",
            "pytorch3d",
            "tinycudann",
            "networks",
            "other heads",
            "LPIPS",
            "perceptual loss",
            "OpenEXR",
            "usd-core",
            "mitsuba",
            "ray",
        )
    }


def test_packages_and_machine_are_told_as_they_are(findings):
    assert findings["torch"].state == importlib.metadata.version("torch")
    version, place = findings["warp-lang"].state.split(" keeps compiled kernels in ")
    assert version == importlib.metadata.version("warp-lang")
    assert place == wp.config.kernel_cache_dir
    assert findings["imageio-ffmpeg"].state == f"{importlib.metadata.version('imageio-ffmpeg')} video in and out"
    python = ".".join(str(part) for part in sys.version_info[:3])
    assert findings["machine"].state.startswith(f"Python {python}, ")
    assert findings["machine"].state.endswith(f"{os.cpu_count()} cores")
    assert findings["GPU"].present == torch.cuda.is_available()


def test_the_open_head_is_really_loaded(findings, open_head):
    V = len(open_head.template)
    assert findings["open head"].state == f"{V} vertices, 100 shapes, 51 expressions (CC0)"


@pytest.mark.parametrize("name", ["torch", "warp-lang", "ai-edge-litert", "imageio-ffmpeg"])
def test_a_needed_package_that_is_not_installed_is_missing(monkeypatch, name):
    without(monkeypatch, name)
    (found,) = [f for f in examine() if f.name == name]
    assert found == Finding(name=name, present=False, needed=True, state="missing", advice=f"pip install {name}")


def test_a_damaged_open_head_is_a_finding_and_no_error(monkeypatch):
    def damaged() -> None:
        raise HeadError("open_head.safetensors is damaged", hint="")

    monkeypatch.setattr(doctor, "load_open_head", damaged)
    (found,) = [f for f in examine() if f.name == "open head"]
    assert not found.present
    assert found.needed
    assert (found.state, found.advice) == ("open_head.safetensors is damaged", "reinstall flare-cli")


def test_the_rasterizer_really_draws(findings):
    assert "32 pixels" in findings["rasterizer"].state  # half of an 8 x 8 pixel box


def test_every_backend_is_named_with_version_and_licence(findings):
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


def test_the_licence_that_forbids_commerce_is_named(findings):
    finding = findings["nvdiffrast"]
    assert "non-commercial" in finding.state + finding.advice


def test_an_added_head_is_listed(monkeypatch, tmp_path):
    monkeypatch.setenv("FLARE_DATA", str(tmp_path))
    (found,) = [f for f in examine() if f.name == "other heads"]
    assert not found.present
    assert "flare head add" in found.advice
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "flame-2020.safetensors").write_bytes(b"")
    (found,) = [f for f in examine() if f.name == "other heads"]
    assert found.present
    assert found.state == "flame-2020"


def test_weights_of_the_perceptual_term_are_looked_for_where_torch_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (found,) = [f for f in examine() if f.name == "perceptual loss"]
    assert not found.present
    assert not found.needed
    assert str(tmp_path / "checkpoints") in found.state
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"")
    (found,) = [f for f in examine() if f.name == "perceptual loss"]
    assert found == Finding(name="perceptual loss", present=True, needed=False, state="VGG16 (torchvision, ImageNet)")


# The command


def made_up(present: bool, needed: bool) -> Finding:
    return Finding(name="thing", present=present, needed=needed, state="its state", advice="what helps")


@pytest.mark.parametrize(
    ("present", "needed", "mark", "code"),
    [(True, True, "ok", 0), (True, False, "ok", 0), (False, False, "optional", 0), (False, True, "MISSING", 1)],
)
def test_only_what_is_needed_and_missing_fails_the_command(monkeypatch, present, needed, mark, code):
    fine = Finding(name="other", present=True, needed=True, state="fine")
    monkeypatch.setattr(doctor, "examine", lambda: [fine, made_up(present, needed), fine])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    (line,) = [line for line in result.output.splitlines() if "thing" in line]
    assert mark in line
    assert "its state" in line
    assert "what helps" in result.output


def test_the_command_tells_what_to_install_for_a_missing_package(monkeypatch):
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    without(monkeypatch, "ai-edge-litert")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "pip install ai-edge-litert" in result.output


@pytest.mark.parametrize(("needed", "code"), [(False, 0), (True, 1)])
def test_the_command_gives_all_findings_as_json(monkeypatch, needed, code):
    monkeypatch.setattr(doctor, "examine", lambda: [made_up(present=False, needed=needed)])
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == code
    expected = {"name": "thing", "present": False, "needed": needed, "state": "its state", "advice": "what helps"}
    assert json.loads(result.stdout) == {"thing": expected}


# The path tracer


def tracer(monkeypatch: pytest.MonkeyPatch, variant: str | Exception) -> Finding:
    def found() -> str:
        if isinstance(variant, Exception):
            raise variant
        return variant

    monkeypatch.setattr(doctor, "mitsuba_variant", found)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3")
    return doctor._mitsuba()


def test_the_path_tracers_variant_is_named(monkeypatch):
    finding = tracer(monkeypatch, "llvm_ad_rgb")
    assert (finding.present, finding.needed, finding.advice) == (True, False, "")
    assert finding.state == "1.2.3 (BSD-3): `flare synth` traces with llvm_ad_rgb"


def test_a_slow_path_tracer_comes_with_advice(monkeypatch):
    finding = tracer(monkeypatch, "scalar_rgb")
    assert finding.state.endswith("scalar_rgb, slowly")
    assert "LLVM" in finding.advice


def test_without_a_path_tracer_the_advice_is_the_extra(monkeypatch):
    missing = BackendError("Mitsuba is not installed", hint="pip install flare-cli[synth]")
    finding = tracer(monkeypatch, missing)
    assert (finding.present, finding.state, finding.advice) == (False, missing.message, missing.hint)
