"""Three people for batches."""

from pathlib import Path

import pytest

from flare_cli.synthetic.recording import make_synthetic_subject


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three tracked subjects, called a, b and c. Leave it as it is."""
    folder = tmp_path_factory.mktemp("people")
    for seed, name in enumerate("abc"):
        make_synthetic_subject(folder / name, frames=6, size=48, samples=1, seed=seed)
    return folder
