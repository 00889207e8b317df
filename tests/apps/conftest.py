"""A fit that several tests look at."""

from pathlib import Path

import pytest

from flare_cli.apps.fit import FitRequest, fit
from flare_cli.parallel.progress import quiet
from flare_cli.synthetic.recording import make_synthetic_subject


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short fit to a synthetic person, with an explicit light and shadows. Leave it as it is."""
    subject = make_synthetic_subject(tmp_path_factory.mktemp("subject") / "me", frames=10, size=64, samples=4)
    settings = ("data.size=64", "stage.steps=60", "material.log2_entries=12", "light.directions=32")
    folder = tmp_path_factory.mktemp("runs") / "me & you"
    visible = ("light.kind=explicit", "light.visibility=true", "light.visibility_poses=3", "light.visibility_rays=64")
    return fit(
        FitRequest(subject=subject.folder, run=folder, config="demo", overrides=(*settings, *visible)), quiet
    ).avatar.parent
