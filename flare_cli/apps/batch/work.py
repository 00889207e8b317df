"""What has to be done for one subject, where its files are, and which of its stages are done.

    OUT/<name>/subject/   test/     what `flare preprocess` makes of the recording, and of the one to score on
    OUT/<name>/run/                 what `flare fit` and `flare eval` make
    OUT/<name>/export/              <name>.glb, …
    OUT/<name>/.batch/<stage>/      made.json: what a stage was made of; and the lock of who is at it

A stage is done if its files are there, and `made.json` says that they were made of the same recording with the same
settings. What is there is whole: every stage writes its last file when the others are written.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from flare_cli.apps.batch.manifest import Entry, is_subject
from flare_cli.apps.export import SINGLE, SUFFIXES
from flare_cli.config.loading import config_to_dict, load_config
from flare_cli.config.schema import setting
from flare_cli.config.tables import read_tables
from flare_cli.config.versions import known_version
from flare_cli.data.json_file import read_json, write_json
from flare_cli.errors import AvatarError, FlareError, SubjectError
from flare_cli.fit.checkpoint import CHECKPOINT
from flare_cli.fit.run_folder import AVATAR_FILE
from flare_cli.head import open_head
from flare_cli.subject.folder import PARAMETERS
from flare_cli.track.label.parser import Parser

Stage = Literal["preprocess", "fit", "eval", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)
BEFORE: dict[Stage, Stage | None] = {"preprocess": None, "fit": "preprocess", "eval": "fit", "export": "fit"}
NOTES, MADE = ".batch", "made.json"
VERSION = 1
_DAMAGED = "delete the subject's folder, and it is made again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for every subject whose entry says nothing else; `config` is a name, no longer None.

    `storage` is the URL of object storage that holds what the stages make, for machines without a common folder.
    """

    stages: tuple[Stage, ...] = STAGES
    config: str = "default"
    overrides: tuple[str, ...] = ()
    head: str = open_head.NAME
    export: tuple[str, ...] = ("glb",)
    size: int = 512
    fps: float | None = None
    max_frames: int | None = None
    face: int = 1
    parser: Path | None = None
    texture_size: int = 2048
    overwrite: bool = False
    storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a stage was begun with: `key` is the digest of it and of all before it. `seconds` None: it was not ended."""

    version: int = setting(VERSION, "layout of the file")
    key: str = setting("", "digest")
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = setting(None, "seconds that it took", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One subject: where it comes from, where it goes, and what is wanted. `settings` are plain values, by stage.

    `formats` are no setting: another one is made beside those that are there. Of `parser` the settings hold the digest.
    """

    name: str
    folder: Path
    source: Path
    test: Path | None
    stages: tuple[Stage, ...]
    config: str
    overrides: tuple[str, ...]
    settings: Mapping[Stage, dict[str, Any]]
    formats: tuple[str, ...]
    overwrite: bool
    storage: str | None = None
    parser: Path | None = None

    @property
    def subject(self) -> Path:
        """The subject folder, which may be the given one."""
        return self.source if is_subject(self.source) else self.folder / "subject"

    @property
    def test_subject(self) -> Path | None:
        """The subject folder to score on, where another recording was given for that."""
        return self.test if self.test is None or is_subject(self.test) else self.folder / "test"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    @property
    def report(self) -> Path:
        """The scores."""
        return self.run / "eval" / "report.json"

    def notes(self, stage: Stage) -> Path:
        """The folder of what is noted of a stage, and of its lock."""
        return self.folder / NOTES / stage

    def results(self, stage: Stage) -> list[Path]:
        """The files that are there when a stage is done."""
        tracked = [self.subject, *([] if self.test_subject is None else [self.test_subject])]
        return {
            "preprocess": [folder / PARAMETERS for folder in tracked],
            "fit": [self.run / AVATAR_FILE],
            "eval": [self.report],
            "export": [self.exported(kind) for kind in self.formats],
        }[stage]

    def exported(self, kind: str) -> Path:
        """The file of a format."""
        return self.folder / "export" / f"{self.name}{SUFFIXES[kind]}"

    def to_preprocess(self) -> dict[Path, Path]:
        """Subject folders to make, and the videos that they are made of."""
        recordings = ((self.subject, self.source), (self.test_subject, self.test))
        return {to: video for to, video in recordings if to is not None and video is not None and to != video}


def wanted_stages(words: Sequence[str]) -> tuple[Stage, ...]:
    """The stages that words name, in the order in which they are done. Raises `FlareError` for other words."""
    wrong = [word for word in words if word not in STAGES]
    if wrong or not words:
        raise FlareError(
            f"{wrong[0]!r} is not a stage" if wrong else "no stage is named", hint=f"there are {', '.join(STAGES)}"
        )
    return tuple(stage for stage in STAGES if stage in words)


def known_formats(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The formats themselves. Raises `AvatarError` if one is none that a batch exports."""
    wrong = [kind for kind in kinds if kind not in SINGLE]
    if wrong:
        raise AvatarError(f"{wrong[0]!r} is not an export format of a batch", hint=f"use some of {', '.join(SINGLE)}")
    return kinds


def plan(entry: Entry, out: Path, defaults: Defaults) -> Work:
    """The work that an entry asks for.

    Raises `ConfigError` for wrong settings, `AvatarError` for unknown formats, `FileError` if no parser is there.
    """
    assert entry.name is not None
    config, overrides = entry.config or defaults.config, (*defaults.overrides, *entry.set)
    fit = config_to_dict(load_config(config, overrides))
    del fit["version"], fit["run"]  # how it is written and computed, not what
    given = is_subject(Path(entry.input)) and (entry.test is None or is_subject(Path(entry.test)))
    parser = defaults.parser if entry.parser is None else Path(entry.parser)
    return Work(
        name=entry.name,
        folder=out / entry.name,
        source=Path(entry.input),
        test=None if entry.test is None else Path(entry.test),
        stages=tuple(stage for stage in defaults.stages if stage != "preprocess" or not given),
        config=config,
        overrides=overrides,
        settings={
            "preprocess": {
                "head": entry.head or defaults.head,
                "size": entry.size or defaults.size,
                "fps": entry.fps or defaults.fps,
                "max_frames": entry.max_frames or defaults.max_frames,
            }
            | _which_face(entry.face or defaults.face, parser),
            "fit": fit,
            "eval": {},
            "export": {"texture_size": defaults.texture_size},
        },
        formats=known_formats(entry.export or defaults.export),
        overwrite=defaults.overwrite,
        storage=defaults.storage,
        parser=parser,
    )


def _which_face(face: int, parser: Path | None) -> dict[str, Any]:
    """Settings of the face and of who labels it. What is usual is left out: batches of earlier versions lack it."""
    settings: dict[str, Any] = {} if face == 1 else {"face": face}
    if parser is not None:
        settings["parser"] = _content(parser, parser.stat().st_mtime_ns if parser.exists() else 0)
    return settings


@functools.lru_cache
def _content(parser: Path, _changed: int) -> str:
    """The digest of a parser's file, read once for all subjects of a batch."""
    return Parser(path=parser).digest()


def read_record(work: Work) -> dict[Stage, Made]:
    """What was noted of each stage. Raises `SubjectError` if that is damaged."""
    notes: dict[Stage, Path] = {stage: work.notes(stage) / MADE for stage in STAGES}
    return {stage: _read_made(path) for stage, path in notes.items() if path.is_file()}


def _read_made(path: Path) -> Made:
    values = read_json(path, hint=_DAMAGED)
    known_version(values.get("version"), VERSION, str(path), error=SubjectError, again=_DAMAGED)
    return read_tables(Made, values, str(path), error=SubjectError, hint=_DAMAGED)


def note(work: Work, stage: Stage, made: Made) -> None:
    """Replace what is noted of a stage."""
    write_json(work.notes(stage) / MADE, asdict(made))


def planned_keys(work: Work, record: Mapping[Stage, Made]) -> dict[Stage, str]:
    """The key of each stage that is wanted; what is not wanted was made as the record says.

    A recording that is gone since it was preprocessed is taken for the one that it was.
    """
    keys: dict[Stage, str] = {}
    made = record.get("preprocess")
    if made is not None and made.settings == work.settings["preprocess"] and not work.source.exists():
        keys["preprocess"] = made.key
    for stage in STAGES:
        before = BEFORE[stage]
        if stage in work.stages and stage not in keys:
            of = _sources(work) if before is None or before not in keys else keys[before]
            keys[stage] = _digest([of, work.settings[stage]])
        elif stage in record and stage not in keys:
            keys[stage] = record[stage].key
    return keys


def is_done(work: Work, stage: Stage, record: Mapping[Stage, Made]) -> bool:
    """Whether a stage has nothing left to do."""
    made = record.get(stage)
    if made is None or made.key != planned_keys(work, record)[stage]:
        return False
    return all(path.is_file() for path in work.results(stage))


def is_begun(work: Work, stage: Stage) -> bool:
    """Whether a stage was cut off, and goes on where it was."""
    kept = {"preprocess": work.folder / "subject" / ".work", "fit": work.run / CHECKPOINT}.get(stage)
    return kept is not None and kept.exists()


def begin(work: Work, stage: Stage, record: Mapping[Stage, Made]) -> Made:
    """Note what a stage is made of from now on.

    What was made otherwise goes if the batch may overwrite; `SubjectError` if not.
    """
    key, made = planned_keys(work, record)[stage], record.get(stage)
    if made is not None and made.key != key:
        something = is_begun(work, stage) or any(path.exists() for path in work.results(stage))
        if something and not work.overwrite:
            raise SubjectError(
                f"{work.folder}: {stage} was made of something else, or with other settings",
                hint="--overwrite replaces it; or choose another folder with -o",
            )
        _remove(work, stage)
    begun = Made(key=key, settings=work.settings[stage])
    note(work, stage, begun)
    return begun


def _remove(work: Work, stage: Stage) -> None:
    """Remove what a stage made: all of it lies in the subject's folder of this batch."""
    folders = {
        "preprocess": [work.folder / "subject", work.folder / "test"],
        "fit": [work.run],
        "eval": [work.run / "eval"],
        "export": [work.folder / "export"],
    }
    for folder in folders[stage]:
        if folder.exists():
            shutil.rmtree(folder)


def _sources(work: Work) -> list[object]:
    """What tells one recording from another: of a subject its track, of a video name, size and time."""
    found: list[object] = []
    for path in (work.source, *([] if work.test is None else [work.test])):
        if is_subject(path):
            found.append(hashlib.sha256((path / PARAMETERS).read_bytes()).hexdigest())
        elif path.is_file():
            stat = path.stat()
            found.append([path.name, stat.st_size, stat.st_mtime_ns])
        else:
            found.append(None)  # the stage that needs it says so
    return found


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
