"""A bar in a terminal, lines in a log."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import termios

import pytest

from sapiens_pl.core import bar as module
from sapiens_pl.core.bar import Bar


def test_in_a_log_a_bar_is_a_line_now_and_then(capsys, monkeypatch):
    bar = Bar("poses", "crop")
    for done in range(18):
        bar.show(done, 17, f"{done // 3}/6 images")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("poses:   0% 0/17 [") and lines[1].startswith("poses: 100% 17/17 [")
    assert lines[1].endswith("5/6 images]")
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOG_LINES", -1.0)
    bar = Bar("people", "image")
    for done in (0, 40, 80, 80):
        bar.show(done, 80, "so far")
    bar.close()
    said = capsys.readouterr().err
    assert "\r" not in said and said.count("\n") == 4 and "people:  50% 40/80 [" in said


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
