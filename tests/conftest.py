"""Shared fixtures: the open head, a small config, a toy subject."""

import os
from dataclasses import replace

# Tests run in a process for each core: libraries that would take all cores for each are read here, before they load.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from support import checked_shapes  # noqa: F401 - before anything of flare_cli, which it checks

# isort: split
import pytest
import torch
from support import flame_like
from support.small_settings import FEW_RAYS
from support.truths import make_subject_with_truth

from flare_cli.config.loading import load_config
from flare_cli.config.schema import Config
from flare_cli.fit.frames import Frames, Pictures
from flare_cli.head.flame.extras import FlameExtras
from flare_cli.head.flame.model_file import FlameReport, head_of_flame, read_flame
from flare_cli.head.model import HeadModel
from flare_cli.head.open_head import load_open_head
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import Subject
from flare_cli.subject.track import Track

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read by Triton when it is imported


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # small operations on a busy machine are slower with more


@pytest.fixture(scope="session")
def open_head() -> HeadModel:
    return load_open_head()


@pytest.fixture(scope="session")
def flame_made(tmp_path_factory: pytest.TempPathFactory) -> tuple[HeadModel, FlameReport]:
    """A FLAME-shaped head called flame-2020, and the report on making it."""
    path = flame_like.write_flame_like(tmp_path_factory.mktemp("flame") / "generic_model.pkl")
    return head_of_flame(read_flame(path), "flame-2020", FlameExtras())


@pytest.fixture(scope="session")
def flame_head(flame_made: tuple[HeadModel, FlameReport]) -> HeadModel:
    """The FLAME-shaped head; `save_head` it where it has to be found by name."""
    return flame_made[0]


@pytest.fixture(scope="session")
def subject_with_truth(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A synthetic person with all that a truth may hold, of three held-out frames of fifteen. Leave it as it is."""
    return make_subject_with_truth(tmp_path_factory.mktemp("truth") / "person")


@pytest.fixture
def tiny_config() -> Config:
    """A fit of a few steps on 48 x 48 pictures."""
    config = load_config("demo", ["data.size=48", "material.log2_entries=10", "run.checkpoint_seconds=0", *FEW_RAYS])
    return replace(config, stage=(replace(config.stage[0], steps=6, batch=1),))


@pytest.fixture
def toy_frames(open_head: HeadModel) -> Frames:
    """Six 48 x 48 pictures of an orange disc where a head would be, under a frontal camera 0.9 m away."""
    n, size = 6, 48
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((row - 22.0) ** 2 + (column - 24.0) ** 2).sqrt() < 14
    image = (disc[..., None] * torch.tensor([220, 150, 110])).byte().expand(n, size, size, 3).contiguous()
    camera = Cameras(
        intrinsics=torch.tensor([[120.0, 120.0, 24.0, 24.0]]),
        camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.9]]]),
        height=size,
        width=size,
    )
    track = Track(
        head="open-head",
        frames=torch.arange(1, n + 1),
        shape=torch.zeros(open_head.n_shape),
        expression=torch.zeros(n, open_head.n_expression),
        pose=torch.zeros(n, 5, 3),
        translation=torch.zeros(n, 3),
        camera=camera,
        fps=25.0,
    )
    mask = (disc * 255).byte().expand(n, size, size).contiguous()
    label = (disc * 1).byte().expand(n, size, size).contiguous()
    return Frames(track=track, pictures=Pictures(image=image, mask=mask, label=label))
