import os

import pytest

from flare_cli.errors import ConfigError
from flare_cli.parallel.cores import cores


@pytest.mark.parametrize(("said", "expected"), [("1", 1), ("9" * 5000, os.cpu_count()), (None, os.cpu_count())])
def test_cores_are_what_the_environment_says_and_the_machine_has(said: str | None, expected: int, monkeypatch):
    monkeypatch.delenv("FLARE_CORES", raising=False)
    if said is not None:
        monkeypatch.setenv("FLARE_CORES", said)
    assert cores() == expected


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "", "²"])
def test_a_number_of_cores_that_is_none_is_told(said: str, monkeypatch):
    monkeypatch.setenv("FLARE_CORES", said)
    with pytest.raises(ConfigError, match="FLARE_CORES"):
        cores()
