from __future__ import annotations

from datetime import date

from sapiens_pl.core.wording import one_line, shortened, shown


def test_what_is_said_fits_into_a_sentence():
    assert one_line(ValueError("two\n  lines")) == "two lines" and one_line(KeyError()) == "KeyError"
    assert one_line("x" * 500) == "x" * 200 and one_line("x" * 500, 10) == "x" * 10
    assert shown([None, True, "ü"]) == '[null, true, "ü"]' and shown({date(2020, 1, 1): 1}) == "{}"
    assert shown(date(2020, 1, 1)) == '"2020-01-01"' and shown("x" * 99, 5) == '"xxxx...'
    assert shortened("a.jpg") == "a.jpg" and shortened("a" * 300 + "b" * 300, 10) == "aaaaa...bbbbb"
