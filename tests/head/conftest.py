"""The FLAME-shaped head by a short name, and a folder for its files."""

from pathlib import Path

import pytest

from flare_cli.head.model import HeadModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("flame")


@pytest.fixture(scope="module")
def flame(flame_head) -> HeadModel:
    return flame_head
