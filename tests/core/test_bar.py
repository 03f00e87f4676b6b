"""A bar in a terminal, lines in a log."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import sys
import termios
import time

import pytest

from sapiens_pl.core.bar import Bar, watched

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]\[INFO\] "


def told(capsys):
    """The lines of a log, each of the one form, without their times."""
    said = capsys.readouterr().err
    assert "\r" not in said and "\x1b" not in said
    lines = said.splitlines()
    assert all(re.match(STAMP, line) for line in lines), said
    return [re.sub(STAMP, "", line) for line in lines]


def test_in_a_log_a_bar_is_a_line_at_its_beginning_and_at_its_end(capsys):
    with Bar("poses", "crop") as bar:
        for done in range(18):
            bar.show(done, 17, f"{done // 3}/6 images")
    first, last = told(capsys)
    assert first.startswith("poses:   0% 0/17 [") and last.startswith("poses: 100% 17/17 [")
    assert last.endswith("5/6 images]")


def test_lines_between_come_in_time_also_where_nothing_goes_on(capsys):
    with Bar("people", "image", seconds=0.02) as bar:
        bar.show(40, 80, "so far")
        begin = time.monotonic()
        while (lines := told(capsys)) == [] or time.monotonic() < begin + 0.1:
            time.sleep(0.1)
        assert len(lines) > 1 and all(line.startswith("people:  50% 40/80 [") for line in lines)
        bar.step(40)
    assert told(capsys)[-1].startswith("people: 100% 80/80 [")


def test_what_says_nothing_itself_is_looked_at(capsys, tmp_path):
    file = tmp_path / "weights.part"
    with watched("weights", "B", 3_000_000, lambda: file.stat().st_size, seconds=0.02):
        time.sleep(0.1)  # there is no file yet
        file.write_bytes(b"0" * 1_500_000)
        time.sleep(0.2)
    lines = told(capsys)
    assert lines[0].startswith("weights:   0% 0.00/3.00M [") and lines[-1].startswith("weights:  50% 1.50M/3.00M [")
    with watched("listing", "file", None, lambda: 7):
        pass
    assert told(capsys)[-1].startswith("listing: 7file [")


@pytest.mark.parametrize(("shown", "total"), [(False, 17), (True, 0)])
def test_a_bar_that_nobody_wants_or_of_nothing_says_nothing(capsys, shown, total):
    bar = Bar("poses", "crop", shown)
    bar.show(0, total, "")
    bar.close()
    assert capsys.readouterr().err == ""


def test_in_a_terminal_it_is_one_line_that_is_written_again(monkeypatch):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        bar = Bar("poses", "crop")
        bar.show(0, 8, "0/2 images")
        bar.show(8, 17, "2/6 images")  # another rank has told of its share
        bar.show(17, 17, "6/6 images")
        bar.close()
        terminal.flush()
        said = ""
        while select.select([ours], [], [], 0)[0]:  # a terminal gives what was written piece by piece
            said += os.read(ours, 100_000).decode()
    os.close(ours)
    assert said.count("\r") > 1 and said.count("\n") == 1 and "17/17" in said and "6/6 images" in said
