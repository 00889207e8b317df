"""Errors that a user can fix: each says what is wrong and what to do next."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

LONGEST_MESSAGE = 1000  # characters


class FlareError(Exception):
    """Something the user can fix. Shown as one message with a hint; the command exits with 2."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str) -> None:
        # Libraries quote the file that they complain of: a damaged one may be one long word.
        message = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} …"
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[partial[FlareError], tuple[()]]:
        """Errors of worker processes are pickled, which by itself forgets the hint."""
        return partial(type(self), self.message, hint=self.hint), ()


class ConfigError(FlareError):
    """A setting is unknown, of the wrong type, out of bounds or not for this machine."""


class VideoError(FlareError):
    """A video can't be read, or shows nobody."""


class SubjectError(FlareError):
    """A subject folder is missing something or contradicts itself."""


class HeadError(FlareError):
    """A head model is missing, damaged or of the wrong kind."""


class AvatarError(FlareError):
    """An avatar file or run folder is missing, damaged or of another version."""


class EnvmapError(FlareError):
    """An environment map can't be read or is not HDR."""


class FitError(FlareError):
    """A fit can't go on: a loss is not finite."""

    exit_code = 1


class OutOfMemoryError(FlareError):
    """The GPU has too little memory for what was asked."""


class BackendError(FlareError):
    """A backend that was asked for is not installed or does not run here."""


class WorkerError(FlareError):
    """A worker process ended before its work was done."""

    exit_code = 1


class PickleError(FlareError):
    """A file that may hold code asks for more than plain data, or is damaged."""


class FileError(FlareError):
    """The system refuses to read or write a file: no space, no permission, a name that is taken or too long."""


class FolderInUseError(FlareError):
    """Another program works in the folder."""


_GOES_ON = "the same command goes on where it was"
# What the system refuses for a reason that a user can mend, and how. Anything else that it refuses is a bug of ours.
_REMEDIES = {
    errno.ENOSPC: f"free some space, or choose another disk; {_GOES_ON}",
    errno.EDQUOT: f"your quota is used up: free some space, or choose another disk; {_GOES_ON}",
    errno.EFBIG: f"files of this size are not allowed here: choose another disk, or raise `ulimit -f`; {_GOES_ON}",
    errno.EIO: "the disk fails: copy what is on it to another one",
    errno.EACCES: "choose a folder that is yours, or change its permissions",
    errno.EPERM: "choose a folder that is yours, or change its permissions",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.EEXIST: "choose another name: something else has this one",
    errno.EISDIR: "a file is needed here, and there is a folder: choose another name",
    errno.ENOTDIR: "a folder is needed here, and there is a file: choose another name",
    errno.ENOENT: "check the path; was it moved or deleted meanwhile?",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "links lead to each other: name the file itself",
    errno.EMFILE: "close other programs, or raise `ulimit -n`",
    errno.ENFILE: "close other programs",
}


def file_error(error: OSError, path: Path | None = None) -> FileError | None:
    """What the system refused, as one sentence; None for what no user can mend. `path` is where, unless it says so."""
    where = error.filename2 or error.filename or path
    if where is None or error.errno not in _REMEDIES:
        return None
    return FileError(f"{os.fsdecode(where)}: {os.strerror(error.errno).lower()}", hint=_REMEDIES[error.errno])
