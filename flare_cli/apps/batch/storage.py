"""A batch's subjects in object storage, through fsspec: each stage is fetched before the next, and stored when it ends.

Machines then share no folder: each has its own, of one path on all of them, and fetches what another one made. What a
stage made lies below `<url>/<subject>/` as it does in the folder; `made.json`, which says of what it was made, is taken
away first and stored last, so that a stage without it is not there. Object storage knows no locks: one batch at a time.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import final

from flare_cli.apps.batch.work import MADE, NOTES, STAGES, Stage, Work, read_record
from flare_cli.data.atomic import replace_whole
from flare_cli.data.folder_lock import HOLDER, LOCK
from flare_cli.errors import BackendError, FileError

INSTALL = "check the URL; S3 needs `pip install s3fs`, Google's storage `gcsfs`, Azure's `adlfs`"
AGAIN = "check the network and your permissions; the same command goes on where it was"


@contextmanager
def stored(work: Work, stage: Stage) -> Generator[None]:
    """Fetch a subject before the block that works on a stage, and store the stage after it, however that ends."""
    if work.storage is None:
        yield
        return
    storage = Storage(work.storage)
    storage.fetch(work)
    try:
        yield
    finally:  # also of a stage that was cut off: it goes on elsewhere
        storage.store(work, stage)


@final
class Storage:
    """The subjects of a batch below a URL. Raises `BackendError` for one that can't be used here."""

    def __init__(self, url: str) -> None:
        try:
            self._files, root = importlib.import_module("fsspec.core").url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise BackendError(f"{url} is no storage that can be used here: {error}", hint=INSTALL) from error
        self._root = str(root).rstrip("/")

    def fetch(self, work: Work) -> None:
        """Bring every stage that was stored with other notes than are here. Raises `FileError`."""
        with _told(work):
            stored_files = self._found(work)
            for stage in STAGES:
                made = f"{NOTES}/{stage}/{MADE}"
                if made not in stored_files:
                    continue
                notes, here = self._files.cat_file(self._at(work, made)), work.folder / made
                if here.is_file() and here.read_bytes() == notes:
                    continue
                here.unlink(missing_ok=True)
                for path in _files_of(stage, _local(work)):
                    (work.folder / path).unlink()
                for path in _files_of(stage, stored_files):
                    with replace_whole(work.folder / path) as partial:
                        self._files.get_file(self._at(work, path), str(partial))
                with replace_whole(here) as partial:
                    partial.write_bytes(notes)

    def store(self, work: Work, stage: Stage) -> None:
        """Replace what is stored of a stage by what is here, unless that is the same. Raises `FileError`."""
        made = f"{NOTES}/{stage}/{MADE}"
        if not (work.folder / made).is_file():
            return
        with _told(work):
            notes, stored_files = (work.folder / made).read_bytes(), self._found(work)
            if made in stored_files:
                ended = read_record(work)[stage].seconds is not None
                if ended and self._files.cat_file(self._at(work, made)) == notes:
                    return
                self._files.rm_file(self._at(work, made))
            here = _files_of(stage, _local(work))
            for path in set(_files_of(stage, stored_files)) - set(here):
                self._files.rm_file(self._at(work, path))
            for path in here:
                self._put(work, path)
            self._put(work, made)

    def _put(self, work: Work, path: str) -> None:
        self._files.makedirs(str(PurePosixPath(self._at(work, path)).parent), exist_ok=True)
        self._files.put_file(str(work.folder / path), self._at(work, path))

    def _found(self, work: Work) -> list[str]:
        """The paths of a subject's stored files, seen from its folder; none that leads out of it."""
        self._files.invalidate_cache()
        top = self._at(work, "")
        inside = [str(path)[len(top) :].lstrip("/") for path in self._files.find(top)]
        return [path for path in inside if ".." not in PurePosixPath(path).parts]

    def _at(self, work: Work, path: str) -> str:
        return f"{self._root}/{work.name}/{path}"


def _local(work: Work) -> list[str]:
    """The files of a subject that are here, seen from its folder."""
    return [path.relative_to(work.folder).as_posix() for path in work.folder.rglob("*") if path.is_file()]


def _files_of(stage: Stage, paths: list[str]) -> list[str]:
    """Those of a subject's files that a stage makes: not what says who is at it, nor halves."""
    return [path for path in paths if _maker(PurePosixPath(path)) == stage]


def _maker(path: PurePosixPath) -> Stage | None:
    if path.name in (LOCK, HOLDER) or ".part" in path.suffixes:
        return None
    if path.parts[:2] == ("run", "eval"):
        return "eval"
    made_in: dict[str, Stage] = {"subject": "preprocess", "test": "preprocess", "run": "fit", "export": "export"}
    return made_in.get(path.parts[0])


@contextmanager
def _told(work: Work) -> Generator[None]:
    """Whatever a storage's own library raises, as a `FileError`."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # each has errors of its own: botocore's, aiohttp's, the system's
        raise FileError(f"{work.storage}/{work.name}: {type(error).__name__}: {error}", hint=AGAIN) from error
