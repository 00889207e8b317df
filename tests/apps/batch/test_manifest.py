"""Lists of recordings: what is read of good ones, and what is said of bad ones."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_cli.apps.batch.manifest import KEYS, NAME, PATHS, Entry, find_recordings
from flare_cli.errors import ConfigError, FlareError, SubjectError

anywhere = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_name(text: str) -> bool:
    return bool(NAME.fullmatch(text)) and len(text) <= 60 and unicodedata.normalize("NFC", text) == text


words = st.text("abcdefgh_-.", min_size=1, max_size=12)
names = st.from_regex(NAME, fullmatch=True).map(str.casefold).filter(is_name)
rows = st.fixed_dictionaries(
    {"input": words.map("videos/{}.mp4".format)},
    optional={
        "test": words.map("{}.mov".format),
        "config": st.sampled_from(["cpu", "demo"]),
        "set": st.lists(st.sampled_from(["data.size=64", "stage.0.steps=5", "run.seed=3"]), min_size=1, max_size=3),
        "head": st.just("open-head"),
        "export": st.lists(st.sampled_from(["glb", "html", "obj"]), min_size=1, unique=True),
        "size": st.integers(64, 4096),
        "fps": st.floats(1, 120).map(lambda rate: round(rate, 3)),
        "max_frames": st.integers(1, 10**6),
        "face": st.integers(1, 100),
        "parser": words.map("{}.onnx".format),
    },
)
lists = st.dictionaries(names, rows, min_size=1, max_size=6)


def written_csv(path: Path, entries: dict[str, dict]) -> Path:
    text = io.StringIO()
    table = csv.DictWriter(text, KEYS)
    table.writeheader()
    for name, row in entries.items():
        table.writerow({"name": name} | {k: ";".join(v) if isinstance(v, list) else v for k, v in row.items()})
    path.write_bytes(text.getvalue().encode())
    return path


def written_toml(path: Path, entries: dict[str, dict]) -> Path:
    path.write_text(tomli_w.dumps({"subject": [{"name": name, **row} for name, row in entries.items()]}))
    return path


@anywhere
@given(entries=lists)
def test_a_list_says_the_same_as_csv_and_as_toml(entries: dict[str, dict], tmp_path: Path):
    expected = [
        Entry(
            name=name,
            **{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
            | {key: str(tmp_path.resolve() / row[key]) for key in PATHS if key in row},
        )
        for name, row in entries.items()
    ]
    assert find_recordings([str(written_csv(tmp_path / "people.csv", entries))]) == expected
    assert find_recordings([str(written_toml(tmp_path / "people.toml", entries))]) == expected


WRONG = {
    "an unknown column": ("input,sise\na.mp4,64", "people.csv:2 [subject] sise: unknown key"),
    "not a number": ("input,size\na.mp4,64\nb.mp4,big", "people.csv:3 [subject] size: 'big' is not a whole number"),
    "too small": ("input,size\na.mp4,3", "people.csv:2 [subject] size: 3 is outside 64 to 4096"),
    "no such face": ("input,face\na.mp4,0", "people.csv:2 [subject] face: 0 is outside 1 to 100"),
    "not finite": ("input,fps\na.mp4,nan", "people.csv:2 [subject] fps: nan is not a number"),
    "no input column": ("video\na.mp4", "people.csv:1 input: is missing in the header"),
    "no input": ("input,name\n,a", "people.csv:2 input: is empty"),
    "a column twice": ("input,size,size\na.mp4,64,64", "people.csv:1 'size': stands twice"),
    "too many cells": ("input\na.mp4,64", "people.csv:2: 2 cells, the header has 1"),
    "an open quote": ('input\n"a.mp4', "people.csv:2: unexpected end of data"),
    "a name too long": (f"input\n{'a' * 5000}.mp4", "people.csv:2 input: file name too long"),
    "an empty list": ("input\n", "there are no recordings"),
    "a name that leaves the folder": ("input,name\na.mp4,../a", "'../a' can't be the name"),
    "one name twice": ("input,name\na.mp4,me\nb.mp4,ME", "two subjects are called 'ME'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_with_file_row_and_key(case: str, tmp_path: Path):
    text, said = WRONG[case]
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(FlareError) as refused:
        find_recordings([str(tmp_path / "people.csv")])
    assert said in refused.value.message


def test_a_mistake_in_toml_is_named_with_its_line(tmp_path: Path):
    path = tmp_path / "people.toml"
    path.write_text('[[subject]]\ninput = "a.mp4"\n\n[[subject]]\ninput = "b.mp4"\nmax_frames = "many"\n')
    with pytest.raises(ConfigError, match=r"people.toml:6 \[subject\] max_frames: 'many' is not a whole number"):
        find_recordings([str(path)])


@anywhere
@given(
    data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
    kind=st.sampled_from(["csv", "toml"]),
)
def test_whatever_a_list_holds_is_read_or_refused(data: bytes, kind: str, tmp_path: Path):
    path = tmp_path / f"people.{kind}"
    path.write_bytes(b"input,name,size\n" * (kind == "csv") + data)
    try:
        entries = find_recordings([str(path)])
    except FlareError:
        return  # anything else would be a bug
    assert all(NAME.fullmatch(entry.name) and entry.input for entry in entries)


def test_folders_patterns_and_subjects_are_found(tmp_path: Path):
    for name in ("b.mp4", "a.MOV", "notes.txt", "c: d.webm"):
        (tmp_path / "films" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "films" / name).touch()
    subject = tmp_path / "films" / "me"
    subject.mkdir()
    (subject / "flame_params.json").touch()
    found = find_recordings([str(tmp_path / "films")])
    assert [entry.name for entry in found] == ["a", "b", "c_ d", "me"]
    assert [entry.name for entry in find_recordings([str(tmp_path / "films" / "*.mp4"), str(subject)])] == ["b", "me"]


@pytest.mark.parametrize("wrong", ["none.mp4", "empty", "*.mp4"])
def test_nothing_there_is_said(wrong: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SubjectError) as refused:
        find_recordings([str(tmp_path / wrong)])
    assert wrong in refused.value.message
