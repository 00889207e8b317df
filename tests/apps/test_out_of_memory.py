"""A GPU whose memory runs out in the middle of a fit: one sentence, exit code 2, and the checkpoint stays."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.small_settings import FEW_RAYS

from flare_cli.apps.fit import FitRequest, fit
from flare_cli.cli.main import main
from flare_cli.data.tensor_file import load_tensors
from flare_cli.fit.checkpoint import CHECKPOINT
from flare_cli.fit.run_folder import AVATAR_FILE
from flare_cli.fit.stage import StageRunner
from flare_cli.parallel.progress import quiet
from flare_cli.synthetic.recording import make_synthetic_subject

SETTINGS = ("data.size=32", "stage.steps=6", "material.log2_entries=8", "run.checkpoint_seconds=0", *FEW_RAYS)
FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of …")


def test_the_fit_says_so_and_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    subject = make_synthetic_subject(tmp_path / "me", frames=6, size=32, samples=1).folder
    about = {"subject": subject, "config": "demo", "overrides": SETTINGS, "device": "cpu"}
    fit(FitRequest(run=tmp_path / "whole", **about), quiet)
    advance = StageRunner.advance

    def until_it_is_full(self: StageRunner, step: int, until: int) -> list[dict[str, float]]:
        if step == 3:
            raise FULL
        return advance(self, step, until)

    words = [str(subject), "-o", str(tmp_path / "run"), "--config", "demo", "--device", "cpu"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["flare", "fit", *words])
    with monkeypatch.context() as full:
        full.setattr(StageRunner, "advance", until_it_is_full)
        with pytest.raises(SystemExit) as ended:
            main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2
    assert said.count("error:") == 1
    assert "the GPU ran out of memory: 2.50 GiB more were needed" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    _, header = load_tensors(tmp_path / "run" / CHECKPOINT)
    assert header["position"]["step"] == 3
    assert not (tmp_path / "run" / AVATAR_FILE).exists()
    assert not list((tmp_path / "run").rglob("*.part*"))

    assert fit(FitRequest(run=tmp_path / "run", **about), quiet).resumed
    ended_as, _ = load_tensors(tmp_path / "run" / AVATAR_FILE)
    whole, _ = load_tensors(tmp_path / "whole" / AVATAR_FILE)
    for name, tensor in whole.items():
        assert ended_as[name].equal(tensor), name


TWO_STAGES = """
[data]
size = 64
[run]
checkpoint_seconds = 0
preview_every = 0
[[stage]]
steps = 40
encoding = "frequency"
[[stage]]
steps = 40
"""
RUNS_OUT = """
import sys
from pathlib import Path
import torch
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.errors import OutOfMemoryError
subject, run, config = map(Path, sys.argv[1:])
request = FitRequest(subject=subject, run=run, config=str(config), device="cuda")

def shrink(what, done, total):
    if what.startswith("fit") and done >= 20:  # the second stage then finds no room
        torch.cuda.set_per_process_memory_fraction(1e-6)

try:
    fit(request, shrink)
except OutOfMemoryError as error:
    print(error.exit_code, error.message)
torch.cuda.set_per_process_memory_fraction(1.0)
print("kept", (run / "checkpoint.safetensors").is_file())
print("resumed", fit(request, lambda *_: None).resumed)
"""


@pytest.mark.gpu
def test_a_gpu_that_is_full(tmp_path: Path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    subject = make_synthetic_subject(tmp_path / "me", frames=6, size=64, samples=1).folder
    (tmp_path / "two.toml").write_text(TWO_STAGES)
    words = [sys.executable, "-c", RUNS_OUT, subject, tmp_path / "run", tmp_path / "two.toml"]
    said = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0].startswith("2 the GPU ran out of memory")
    assert said.splitlines()[1:] == ["kept True", "resumed True"]
