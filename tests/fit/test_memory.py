import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from flare_cli.config.loading import load_config
from flare_cli.errors import ConfigError
from flare_cli.fit.memory import within_vram


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize(("edge", "gib"), [(512, 8), (1024, 24)])
def test_presets_fit_common_cards_as_they_are(preset: str, edge: int, gib: float):
    config = load_config(preset)
    assert within_vram(config, (edge, edge), gib) == (config, [])


def test_less_memory_means_smaller_batches_and_says_so():
    config = load_config("default")
    smaller, notes = within_vram(config, (1024, 1024), 8)
    assert smaller == replace(config, stage=(replace(config.stage[0], batch=2),))
    assert notes == ["stage 'fit': batch 4 -> 2, to fit into 8 GiB"]


def test_pictures_that_never_fit_are_refused_with_a_size_that_may():
    with pytest.raises(ConfigError, match="3000x2000") as caught:
        within_vram(load_config("default"), (2000, 3000), 2)
    assert "data.size=1000" in caught.value.hint


TAKES_ALL = """
import torch
from flare_cli.fit.memory import limit_vram
limit_vram(2, torch.device("cuda"))
small = torch.empty(2**30, dtype=torch.uint8, device="cuda")
try:
    torch.empty(2**31, dtype=torch.uint8, device="cuda")
except torch.cuda.OutOfMemoryError:
    print("held")
"""


@pytest.mark.gpu
def test_the_limit_holds():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    # In a process of its own: what other tests keep on the GPU counts too.
    done = subprocess.run([sys.executable, "-c", TAKES_ALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "held"
