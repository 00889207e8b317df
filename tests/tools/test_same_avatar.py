"""`tools/same_avatar.py` finds what differs between two avatar files, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flare_cli.data.tensor_file import save_tensors

TOOL = Path(__file__).parents[2] / "tools" / "same_avatar.py"
TENSORS = {"shape": torch.tensor([0.0, 1.0, 2.0]), "steps": torch.tensor(7)}


def compared(folder: Path, other: dict[str, torch.Tensor]) -> tuple[int, str]:
    save_tensors(folder / "a", TENSORS, {"seconds": 1})
    save_tensors(folder / "b", other, {"seconds": 2})
    done = subprocess.run([sys.executable, TOOL, folder / "a", folder / "b"], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_the_same_tensors_under_another_header_are_the_same(tmp_path: Path):
    assert compared(tmp_path, dict(TENSORS)) == (0, "2 tensors, all the same\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": torch.tensor([0.0, 1.5, 2.0])}, "shape: 1 of 3 values differ, by up to 0.5"),
        ({"shape": torch.tensor([-0.0, 1.0, 2.0])}, "shape: 1 of 3 values differ, by up to 0"),
        ({"steps": torch.tensor(8)}, "steps: 1 of 1 values differ, by up to 1"),
        ({"steps": torch.tensor([7])}, "steps: torch.int64 [] and torch.int64 [1]"),
        ({"light": torch.zeros(2)}, "light: only in the second"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: dict[str, torch.Tensor], said: str):
    assert compared(tmp_path, TENSORS | change) == (1, said + "\n")


def test_a_missing_file_is_not_a_difference(tmp_path: Path):
    done = subprocess.run([sys.executable, TOOL, tmp_path / "a", tmp_path / "b"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "does not exist" in done.stderr
