"""Text in the encodings that people's programs write."""

from __future__ import annotations

import codecs
import os

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.text_files import open_text, read_text

TEXT = "a b.jpg\nä/猫.jpg\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_the_first_bytes_say_how_to_read(tmp_path, data):
    (tmp_path / "list.txt").write_bytes(data)
    assert read_text(str(tmp_path / "list.txt")) == TEXT


def test_other_bytes_still_name_the_files_on_the_disk(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    assert os.fsencode(read_text(str(tmp_path / "list.txt"))) == b"caf\xe9.jpg\n"


@pytest.mark.parametrize("data", [TEXT.encode("utf-16")[:-1], codecs.BOM_UTF16_LE + b"\x00\xd8a\x00"])
def test_a_damaged_file_is_a_sentence(tmp_path, data):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(ConfigError, match=r"list.txt is damaged UTF-16 .*save it as UTF-8"):
        read_text(str(tmp_path / "list.txt"))
    with pytest.raises(ConfigError, match="damaged UTF-16"), open_text(str(tmp_path / "list.txt")) as file:
        list(file)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(str(tmp_path))


def test_short_files(tmp_path):
    for data in (b"", b"a", b"\0\0\0"):
        (tmp_path / "list.txt").write_bytes(data)
        assert read_text(str(tmp_path / "list.txt")) == data.decode()
