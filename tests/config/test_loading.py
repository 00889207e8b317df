import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_cli.config.loading import config_from_dict, config_to_dict, load_config, preset_names
from flare_cli.config.schema import Config, StageSettings
from flare_cli.errors import ConfigError


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "fit.toml"
    path.write_text(text)
    return str(path)


def test_all_presets_load():
    assert set(preset_names()) >= {"paper", "default", "cpu", "demo"}
    for name in preset_names():
        assert load_config(name).stage


def test_paper_preset_is_the_published_recipe():
    config = load_config("paper")
    assert [(s.steps, s.batch, s.encoding) for s in config.stage] == [(1500, 4, "frequency"), (1000, 4, "hash")]
    assert "deformer" not in config.stage[1].trains
    assert (config.loss.mask, config.loss.laplacian, config.loss.prior_expression) == (2.0, 60.0, 100.0)
    assert (config.stage[1].fresnel_skin, config.stage[1].fresnel_other) == (0.028, 0.047)


def test_unknown_key_is_named_with_its_line_and_a_suggestion(tmp_path: Path):
    path = written(tmp_path, "[data]\nsize = 256\n\n[loss]\nmaks = 2.0\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "fit.toml:5 [loss] maks: unknown key" in caught.value.message
    assert "'mask'" in caught.value.hint


def test_line_of_a_mistake_in_the_second_stage(tmp_path: Path):
    path = written(tmp_path, "[[stage]]\nsteps = 3\n[[stage]]\nsteps = 0\n")
    with pytest.raises(ConfigError, match=r"fit\.toml:4 \[stage\] steps: 0 is outside"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\nsize = 'big'\n", "'big' is not a whole number"),
        ("[data]\nsize = true\n", "is not a whole number"),
        ("[light]\nvisibility = 1\n", "1 is not true or false"),
        ("[data]\nholdout = 1.5\n", "is outside 0 to 0.9"),
        ("[loss]\nmask = nan\n", "nan is not a number"),
        ("[loss]\nmask = 1" + 400 * "0" + "\n", "is not a number"),
        ("[data]\nsize = " + 5000 * "9" + "\n", "5000 digits"),
        ("[data]\nsize = " + 3000 * "[" + 3000 * "]" + "\n", "not readable TOML"),
        ("[dta]\n", "unknown table"),
        ("data = 3\n", "must be a table"),
        ("[stage]\nsteps = 3\n", "must be a list of tables"),
        ("[[stage]]\ntrains = ['mesh', 'hair']\n", "is not a list whose items are one of"),
        ("[data\n", "not readable TOML"),
    ],
)
def test_mistakes_end_in_one_clear_message(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert message in caught.value.message
    assert caught.value.hint


def test_missing_file_and_unknown_preset(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="no config called 'papre'"):
        load_config("papre")


def test_set_changes_one_value():
    config = load_config("paper", ["data.size=256", "stage.1.steps=7", "loss.laplacian_of=offsets"])
    assert config.data.size == 256
    assert [s.steps for s in config.stage] == [1500, 7]
    assert config.loss.laplacian_of == "offsets"
    assert {s.batch for s in load_config("paper", ["stage.batch=1"]).stage} == {1}


HUGE = ["data.size=" + 5000 * "9", "data.holdout=1" + 400 * "0", "data.size=" + 3000 * "[", 5000 * "x" + ".y=1"]


@pytest.mark.parametrize(
    "override",
    [
        "size=3",
        "data.size",
        "stage.9.steps=1",
        "data.sise=3",
        "data.size=64\ndata.every=2",
        "stage.99999.steps=1",
        *HUGE,
    ],
)
def test_bad_set_is_refused(override: str):
    with pytest.raises(ConfigError) as caught:
        load_config("paper", [override])
    assert len(caught.value.message) < 400


def test_set_of_a_table_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="must be a table"):
        load_config(written(tmp_path, "data = 3\n"), ["data.size=64"])
    with pytest.raises(ConfigError, match="must be a list of tables"):
        load_config(written(tmp_path, "stage = 3\n"), ["stage.0.steps=64"])


@given(st.integers(32, 4096), st.floats(0, 0.9), st.lists(st.integers(1, 1000), min_size=1, max_size=4))
def test_config_survives_a_round_trip(size: int, holdout: float, steps: list[int]):
    config = Config()
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, size=size, holdout=holdout),
        stage=tuple(StageSettings(steps=n) for n in steps),
    )
    assert config_from_dict(config_to_dict(config), "memory") == config


def test_every_setting_is_explained():
    for table in dataclasses.fields(Config):
        cls = type(table.default[0]) if isinstance(table.default, tuple) else type(table.default)
        for field in dataclasses.fields(cls):
            assert field.metadata["help"], f"{table.name}.{field.name}"


def test_settings_that_were_taken_out_are_left_out_where_they_did_nothing(tmp_path: Path):
    path = tmp_path / "old.toml"
    path.write_text("[material]\nspecular = 0.0\n[track]\nturning = 2.0\n[[stage]]\nmesh_smoothing = 0\n")
    assert load_config(str(path)) == Config()
    path.write_text("[[stage]]\n[[stage]]\nmesh_smoothing = 4\n")
    with pytest.raises(ConfigError, match=r"\[stage\] mesh_smoothing: was taken out in 0.2.0"):
        load_config(str(path))
    path.write_text("version = 2\n[material]\nspecular = 0.0\n")
    with pytest.raises(ConfigError, match="specular: unknown key"):
        load_config(str(path))


@pytest.mark.parametrize("version", ["0", "-1", "1.5", "true", "'2'", "[]", "nan"])
def test_versions_that_are_none_are_refused(version: str, tmp_path: Path):
    path = tmp_path / "old.toml"
    path.write_text(f"version = {version}\n")
    with pytest.raises(ConfigError, match="this flare reads versions 1 to 2") as refused:
        load_config(str(path))
    assert refused.value.hint == "leave the line out"
