"""Text files of other people: lists of images, box files; in UTF-8, or in what their byte order mark says. And JSON."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.packed import packing_of

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def open_text(path: str, newline: str | None = None) -> Iterator[TextIO]:
    """Opens a text file to be read; `newline` as for `open`.

    Without a mark it is UTF-8, whose other bytes stay as surrogates, so that they still name the files on the disk.
    UTF-16 without a mark is told by the zeros beside its first character.

    Raises:
        ConfigError: it cannot be read, or it is not in the encoding that it claims (also while it is read).
    """
    encoding = "utf-8"
    try:
        with open(path, "rb") as file:
            start = file.peek(8)[:8]
            if (kind := packing_of(start)) is not None:
                raise ConfigError(f"{path} is packed ({kind}); unpack it and give the file that is in it.")
            encoding = _encoding(start[:4])
            errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
            yield io.TextIOWrapper(file, encoding, errors, newline)
    except UnicodeError as error:
        raise ConfigError(f"{path} is damaged {encoding.upper()} ({error}); save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error}); fix that and run again.") from None


def read_text(path: str) -> str:
    """All of a text file, read as by `open_text`."""
    with open_text(path) as file:
        return file.read()


def _encoding(start: bytes) -> str:
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    if len(start) >= 2 and (start[0] == 0) != (start[1] == 0):
        return "utf-16-be" if start[0] == 0 else "utf-16-le"
    return "utf-8"


def to_json(value: Any) -> str:
    """Readable UTF-8 JSON; escapes only where a file name is not valid Unicode."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    return text
