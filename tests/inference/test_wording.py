"""What the page says of a picture: whole sentences, and nothing that only the command line has."""

import re
import sys

import pytest

from lenet_lightning.errors import RunError
from lenet_lightning.inference import picture, wording
from tests.inference import corpus

SENTENCES = re.compile(r"[A-Z].*[.?!]")
COMMANDS = re.compile(r"--|pip |\[heic\]|the picture: ")


def of_the_page(text):
    return SENTENCES.fullmatch(text) and not COMMANDS.search(text)


@pytest.mark.parametrize(
    "case", corpus.BAD + corpus.BLANK + [case for case in corpus.GOOD if case.notice], ids=lambda case: case.name
)
def test_what_is_said_of_any_file_is_for_the_user_of_the_page(tmp_path, case):
    case.make(tmp_path / case.name)
    if not (tmp_path / case.name).is_file():
        pytest.skip("a browser cannot send it")
    try:
        # as the page gets it, without its name
        said = picture.frame((tmp_path / case.name).read_bytes()).notice
    except RunError as error:
        assert of_the_page(wording.refusal(str(error)))
    else:
        assert (told := wording.notice(said)) is None or of_the_page(told)
        assert (said is None) == (told is None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, None),
        ("blank", "Nothing that looks like a digit is in it."),
        ("2 digits? --line reads a row of them", "There may be 2 digits in it."),
        ("something is left out", "Something is left out."),
        ("turned to read it: --upright keeps it", "Turned to read it."),
        (
            "only the first of its frames was read; 2 digits? --line reads a row of them",
            "Only the first of its frames was read. There may be 2 digits in it.",
        ),
    ],
)
def test_each_part_of_a_notice_becomes_a_sentence_without_options(said, told):
    assert wording.notice(said) == told


def test_a_package_to_install_is_nothing_for_the_user_of_the_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(RunError, match="pip install") as raised:
        picture.frame(b"\0\0\0\x18ftypheic" + bytes(100))
    told = wording.refusal(str(raised.value))
    assert told.endswith("is HEIC; save it as a JPEG.")
    assert of_the_page(told)


def test_a_failure_of_the_weights_names_no_path_of_this_machine():
    told = wording.refusal("/home/user/w.onnx: must return finite logits, returns others; use other weights")
    assert of_the_page(told)
    assert "home" not in told
