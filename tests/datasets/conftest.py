"""The scene that is written in every format."""

import pytest
from support.formats.scene import Scene, make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()
