"""`predict --truth`: what is counted right is what was read as the file or its folder is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_lightning.__main__ import main
from tests.inference import corpus, telephone

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

DRAWN = {"4": corpus.FOUR, "7": [corpus.SEVEN], "1": [corpus.ONE]}


@pytest.fixture
def command(capfd):
    """Run `predict` in this process: (exit code, stdout, lines of stderr without the one that names the weights)."""

    def run(*args):
        code = main(["predict", *args])
        out, err = capfd.readouterr()
        return code, out, [line for line in err.splitlines() if not line.startswith("weights ")]

    return run


def draw(path, digit):
    path = Path(path)
    path.parent.mkdir(exist_ok=True, parents=True)
    corpus.drawn(*DRAWN[digit], side=100).save(path)


def test_files_named_by_their_digit(command):
    for name in ("4.png", "7_0012.png", "scan-04_1.png", "4 of 12.png"):
        draw(f"photos/{name}", name[0] if name[0] in DRAWN else "1")
    draw("photos/7-a.png", "1")
    code, out, err = command("photos", "--truth", "name")
    assert (code, len(out.splitlines())) == (0, 5)
    assert err == ["photos/7-a.png: is 7, read as 1", "80.00% right: 4 of 5; 1 wrong, 0 rejected, 0 not read"]


def test_folders_named_by_their_digit(command):
    for digit in DRAWN:
        for each in range(2):
            draw(f"photos/{digit}/{each}.png", digit)
    draw("photos/other/4.png", "4")
    Path("photos/notes.txt").touch()
    Path("photos/4/notes.txt").touch()
    Path("photos/4/broken.png").touch()
    Image.new("L", (50, 50)).save("photos/7/white.png")
    code, out, err = command("photos", "--truth", "folder", "--json")
    assert (code, len(json.loads(out))) == (1, 8)
    assert err == [
        "photos: skipped 2: notes.txt, other/",
        "photos/4: skipped 1: notes.txt",
        f"error: photos/4/broken.png: {corpus.NO_PICTURE}",
        "photos/7/white.png: is 7, not read: blank",
        "75.00% right: 6 of 8; 1 wrong, 0 rejected, 1 not read",
    ]
    assert command("photos/1", "photos/7/0.png", "--truth", "folder")[2] == [
        "100.00% right: 3 of 3; 0 wrong, 0 rejected, 0 not read"
    ]


def test_rejected_answers_are_counted_apart(command):
    draw("4.png", "4")
    _, _, (told,) = command("4.png", "--truth", "name", "--reject-below", "1000")
    assert told == "0.00% right: 0 of 1; 0 wrong, 1 rejected, 0 not read"


def test_rows_named_by_their_number(command):
    row = np.concatenate([np.asarray(corpus.drawn(*DRAWN[digit])) for digit in "417"], 1)
    for name in ("row_417.png", "row_471.png"):
        Image.fromarray(row).save(name)
    _, _, err = command("row_417.png", "row_471.png", "--line", "--truth", "name")
    assert err == ["row_471.png: is 471, read as 417", "50.00% right: 1 of 2; 1 wrong, 0 rejected, 0 not read"]


def test_the_confusion_picture_has_a_count_for_each_error(command):
    draw("7/a.png", "7")
    draw("4/b.png", "7")
    for name, wrong in {"one.png": "4", "none.png": "7"}.items():
        assert command(wrong, "--truth", "folder", "--confusion", name)[0] == 0
    orange = {}
    for name in ("one.png", "none.png"):
        with Image.open(name) as drawn:
            assert drawn.format == "PNG"
            # the colour bar has the same in both
            pixels = np.asarray(drawn.convert("RGB")).astype(int)[:, : drawn.width * 3 // 4]
        orange[name] = int((pixels[..., 0] - pixels[..., 2] > 60).sum())
    assert orange["one.png"] > 500 > orange["none.png"]


@pytest.mark.parametrize(
    "args",
    [
        ("seven.png", "--truth", "name"),
        ("12.png", "--truth", "name"),
        ("4_7.png", "--truth", "name"),
        ("4_7.png", "--truth", "folder"),
        ("-", "--truth", "name"),
        ("7.png", "--truth", "name", "--output", "answers.jsonl"),
        ("7.png", "--confusion", "out.png"),
        ("7.png", "--truth", "name", "--confusion", "out.jpg"),
        ("7.png", "--truth", "name", "--line", "--confusion", "out.png"),
    ],
)
def test_what_has_no_truth_ends_the_command_before_anything_is_read(command, args):
    for name in ("seven.png", "12.png", "4_7.png", "7.png"):
        draw(name, "7")
    code, out, err = command(*args)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("error: ")
    assert "must be" in err[0] or "must begin or end with one digit for" in err[0]


@pytest.mark.parametrize(
    "kind, line, rule", [("folder", (), "named by a digit for"), ("name", ("--line",), "one number for")]
)
def test_the_rule_that_a_name_breaks_is_told(command, kind, line, rule):
    draw("x/seven.png", "7")
    code, _, (err,) = command("x/seven.png", "--truth", kind, *line)
    assert (code, rule in err) == (2, True)


def test_a_folder_has_the_pictures_of_telephones_and_browsers(command):
    Path("photos").mkdir()
    telephone.heic(Path("photos/iphone_7.HEIC"), corpus.seven())
    telephone.mpo(Path("photos/phone_7.mpo"), corpus.seven())
    corpus.seven().save("photos/chrome_7.jfif", "JPEG")
    code, out, err = command("photos", "--truth", "name", "--json")
    assert (code, err) == (0, ["100.00% right: 3 of 3; 0 wrong, 0 rejected, 0 not read"])
    assert [row["notice"] for row in json.loads(out)] == [None] * 3
