"""A fit that several tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_settings import FEW_RAYS

from flare_cli.apps.fit import FitRequest, fit
from flare_cli.parallel.progress import quiet
from flare_cli.synthetic.recording import make_synthetic_subject


@pytest.fixture(scope="module", autouse=True)
def _few_rays() -> Iterator[None]:
    """How open each vertex lies is most of an export's time; `tests/avatar/test_bake.py` looks at it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flare_cli.avatar.baking.bake.RAYS", 32)
        yield


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short fit to a synthetic person, with an explicit light and shadows. Leave it as it is."""
    subject = make_synthetic_subject(tmp_path_factory.mktemp("subject") / "me", frames=10, size=64, samples=4)
    settings = ("data.size=64", "stage.steps=60", "material.log2_entries=12", "light.directions=32")
    # In 64 pixels an eye says nothing of the level: the avatar got a sixth too light, and decibels count from white.
    level = ("loss.level_by_eyes=0",)
    folder = tmp_path_factory.mktemp("runs") / "me & you"
    visible = ("light.kind=explicit", "light.visibility=true", *FEW_RAYS)
    return fit(
        FitRequest(subject=subject.folder, run=folder, config="demo", overrides=(*settings, *level, *visible)), quiet
    ).avatar.parent
