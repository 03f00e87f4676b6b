"""Errors that are for people: each message is one sentence that says what, where and what to do."""

from __future__ import annotations

import errno
from pathlib import Path


class SapiensError(Exception):
    """Something outside the program is wrong. Takes one string, so that loader workers can re-raise it."""


class ConfigError(SapiensError):
    """A setting, or a file that a setting names, cannot be used; nothing has run."""


class SettingError(ConfigError, ValueError):
    """A value is not what its setting takes; for Python callers it is also a ValueError."""


class CheckpointError(ConfigError):
    """A weights file is damaged, of an unknown kind, or of another network."""


class WeightsChangedError(SapiensError):
    """A weights file was written to while a network read its weights from there."""


class MissingImageError(SapiensError):
    """An image file that was asked for is not there."""


class AmbiguousNameError(SapiensError):
    """A name or a number in a box file could mean several images."""


class UnreadableFolderError(SapiensError):
    """A folder of images cannot be listed, so its content is unknown."""


class UnreadableShardError(SapiensError):
    """A file that holds many images cannot be read, or not to its end, so that some of them are missing."""


class UnreadableImageError(SapiensError):
    """A file is not an image, or one that no decoder here reads."""


class DamagedImageError(SapiensError):
    """An image file ends early or is broken inside, so that a part of the picture would be made up."""


class OversizedImageError(SapiensError):
    """An image has more pixels than the limit; it was refused before decoding."""


class RemoteError(SapiensError):
    """One object behind a URL cannot be read or written, even after retries; others of the store can."""


class MissingRemoteError(RemoteError):
    """There is nothing at a URL."""


class StoreRefusedError(SapiensError):
    """A store refuses the credentials or cannot be reached: no single picture is the cause, so the run stops."""


class BoxError(SapiensError):
    """A box that cannot hold a person: not numbers, no area, or outside the image."""


class NonFiniteError(SapiensError):
    """The network gave infinities or NaN for a crop."""


class WriteError(SapiensError):
    """A result could not be written."""


class ResultError(WriteError):
    """One image's result cannot be written; those of others can."""


class ResultNameError(ResultError):
    """The file system does not accept the file name that an image's result would have."""


class ReaderDiedError(SapiensError):
    """Reading an image killed the process that read it."""


class ReadTimeoutError(SapiensError):
    """Reading an image took longer than the limit."""


class ReadersLostError(SapiensError):
    """The loader's worker processes die again and again, and no image is to blame."""


class DeviceMemoryError(SapiensError):
    """Not even one crop fits into the device's memory."""


def write_error(path: Path, error: OSError) -> WriteError:
    """The sentence for an error of the operating system while it writes a file."""
    remedy = "make room and run the same command again" if error.errno == errno.ENOSPC else "fix that and run again"
    return WriteError(f"{path} could not be written ({error.strerror}); what is written stays, {remedy}.")
