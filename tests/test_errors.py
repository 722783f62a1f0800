"""What comes from outside is one printable line of bounded length in any message."""

import errno
import os
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_lightning.errors import MOST_CHARACTERS, one_line, pasted, printable, remedy


def test_signs_that_cannot_be_seen_are_escaped():
    assert printable("a\nb\t\x1b[31m\udcff\u202e.png") == "a\\nb\\t\\x1b[31m\\udcff\\u202e.png"
    assert printable("Ziffer — 七.png") == "Ziffer — 七.png"


def test_white_space_is_collapsed_and_the_rest_is_cut():
    assert one_line("no\n  such   file\r\n") == "no such file"
    line = one_line("x" * 5_000_000)
    assert len(line) == MOST_CHARACTERS
    assert line.endswith("x ...")


@given(st.text())
def test_any_text_is_one_printable_line(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= MOST_CHARACTERS


@pytest.mark.parametrize("name", ["a", "with space", "a;b", "#1", "$HOME", "it's", "a&b", "né", "*"])
def test_a_pasted_path_is_one_word_to_a_shell(name):
    assert shlex.split(f"command {pasted(Path(name))} # comment", comments=True) == ["command", name]


def test_room_is_asked_for_only_where_there_is_none():
    errors = {number: OSError(number, os.strerror(number)) for number in errno.errorcode}
    assert {number for number, error in errors.items() if "room" in remedy(error)} == {errno.ENOSPC, errno.EDQUOT}
    assert all(remedy(error, "use another folder").endswith("use another folder") for error in errors.values())
