"""Errors that a user can fix: each says what is wrong and what to do next."""

from __future__ import annotations

from functools import partial


class FlareError(Exception):
    """Something the user can fix. Shown as one message with a hint; the command exits with 2."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str) -> None:
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
