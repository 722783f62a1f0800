"""Laws of reading many pictures: on how many cores, and how often interrupted, changes no answer and no order."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lenet_lightning import weights
from lenet_lightning.__main__ import main
from lenet_lightning.inference import framing, ground, masks, reading, strokes
from tests.inference import corpus

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def pictures(tmp_path):
    """Forty: 4, 7, 1 and a broken one in turn."""
    (tmp_path / "many").mkdir()
    for number in range(40):
        path = tmp_path / "many" / f"{number:02}.png"
        strokes = (corpus.FOUR, [corpus.SEVEN], [corpus.ONE], None)[number % 4]
        corpus.drawn(*strokes, side=60).save(path) if strokes else path.write_text("no picture\n")
    return "many"


def read(capfd, *args):
    code = main(["predict", "--weights", str(weights.SHIPPED), *args])
    out, err = capfd.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("shape", [(56, 56), (1, 200), (200, 1), (2, 2), (1, 1), (30, 200)])
@pytest.mark.parametrize("kept", [3, 6])
def test_the_normal_equations_fit_as_well_as_least_squares_over_all_pixels(shape, kept):
    rng = np.random.default_rng(0)
    y, x = (np.linspace(-1, 1, length)[:, None] ** np.arange(5) for length in shape)
    mask = rng.random(shape) < 0.7
    mask.flat[0] = True
    levels = rng.normal(200, 9, shape)
    rows, columns = np.meshgrid(y[:, 1], x[:, 1], indexing="ij")
    terms = np.stack([rows**0, columns, rows, rows * columns, columns**2, rows**2], -1)[..., :kept]
    expected = terms @ np.linalg.lstsq(terms[mask], levels[mask], rcond=None)[0]
    weights = ground.least_squares(levels, mask, y, x, kept)
    assert np.allclose(ground.surface(weights, y, x)[mask], expected[mask], atol=1e-6)


def test_masks_are_eroded_and_taken_apart_as_by_scipy():
    rng = np.random.default_rng(0)
    for share, times in ((0.5, 1), (0.9, 2), (0.97, 4), (1, 5)):
        mask = rng.random((40, 60)) < share
        assert np.array_equal(masks.eroded(mask, times), ndimage.binary_erosion(mask, iterations=times))
        labels, area, boxes = masks.labelled(mask)
        expected, count = ndimage.label(mask, np.ones((3, 3)))
        assert len(area) == len(boxes) == count
        assert sorted(area) == sorted(np.bincount(expected.ravel())[1:])
        for number, box in enumerate(boxes, 1):
            where = np.nonzero(labels == number)
            assert box.tolist() == [[each.min(), each.max() + 1] for each in where]


def test_only_what_is_wide_is_removed():
    rng = np.random.default_rng(0)
    for above in (rng.normal(0, 40, (50, 70)), 100 + rng.normal(0, 9, (61, 40))):
        wide = (1 + round(0.35 * max(above.shape)),) * 2
        clear = above.astype(np.float32).clip(0)
        low = ndimage.grey_erosion(ndimage.gaussian_filter(clear, 1), wide, mode="constant")
        expected = np.minimum(clear, clear - ndimage.grey_dilation(low, wide, mode="constant"))
        assert np.abs(strokes.narrow(above.astype(np.float32), 0.35) - expected).max() < 0.5


@pytest.mark.parametrize("form", ["--jsonl", "--csv", "--json"])
def test_on_all_cores_the_lines_and_their_order_are_the_same(capfd, monkeypatch, pictures, form):
    alone = read(capfd, form, pictures)
    monkeypatch.setattr(reading, "_ALONE_S", 0)
    monkeypatch.setattr(reading, "_cores", lambda: 2)
    assert read(capfd, form, pictures) == alone
    assert (alone[0], len(alone[2])) == (1, 10)


def test_a_reader_that_dies_twice_costs_one_picture(monkeypatch, pictures):
    from lenet_lightning.inference.reader import Reader

    reader = Reader("auto", False)
    try:
        reader._process.kill()
        reader._process.wait()
        # killed between two pictures, it is started anew and nothing is lost
        (found,) = reader.frame([f"{pictures}/01.png"])
        assert found.pixels.shape == (28, 28)
        monkeypatch.setattr(reader, "_options", ("no such choice",))
        reader._process.kill()
        reader._process.wait()
        (error,) = reader.frame([f"{pictures}/01.png"])
        assert error == f"{pictures}/01.png: cannot be read: its decoder died; save it again"
    finally:
        reader.kill()
        reader.close()


def test_json_lines_are_the_objects_of_the_array(capfd, pictures):
    code, out, err = read(capfd, "--jsonl", pictures)
    assert [json.loads(line) for line in out.splitlines()] == json.loads(read(capfd, "--json", pictures)[1])
    assert (code, len(err)) == (1, 10)


@pytest.mark.parametrize("cut", [0, 1, 7, 300, 4000, -1])
def test_a_reading_that_goes_on_ends_as_if_never_interrupted(capfd, pictures, cut):
    out = Path("out.jsonl")
    code, printed, _ = read(capfd, pictures, "--output", "out.jsonl")
    assert (code, printed) == (1, "")
    whole = out.read_bytes()
    assert whole.decode() == read(capfd, "--jsonl", pictures)[1]
    out.write_bytes(whole[:cut])
    assert read(capfd, pictures, pictures, "--output", "out.jsonl")[:2] == (1, "")
    kept = whole[: whole[:cut].rfind(b"\n") + 1]
    assert out.read_bytes().startswith(kept)
    again, expected = ([json.loads(each) for each in text.splitlines()] for text in (out.read_bytes(), whole))
    # together with other pictures, a picture's sums are rounded otherwise
    probabilities = [[row.pop("probability") or 0 for row in rows] for rows in (again, expected)]
    assert again == expected
    assert np.allclose(*probabilities, rtol=0, atol=1e-6)
    whole = out.read_bytes()
    # all are read: nothing changes, and the errors still count
    assert read(capfd, pictures, "--output", "out.jsonl") == (1, "", [])
    assert out.read_bytes() == whole


@pytest.mark.parametrize("content", [b"my notes", b"a\nb\n", b"[]\n", b'{"picture": 1}\n', b"\xff\n"])
def test_a_file_of_something_else_is_left_as_it_is(capfd, pictures, content):
    Path("notes.txt").write_bytes(content)
    code = main(["predict", pictures, "--output", "notes.txt"])
    err = capfd.readouterr().err
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("error: --output notes.txt: line 1 must be an answer")
    assert Path("notes.txt").read_bytes() == content


def test_what_cannot_be_gone_on_with_is_refused(capfd, monkeypatch, pictures):
    for target in ("none/out.jsonl", "many"):
        assert main(["predict", pictures, "--output", target]) == 2
        rule = "must be a file to write, in a folder that exists; pass another"
        assert capfd.readouterr().err == f"error: --output {target}: {rule}\n"
    assert main(["predict", pictures, "--output", "out.jsonl", "--csv"]) == 2


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_a_killed_reading_goes_on_and_leaves_no_process(capfd, tmp_path):
    (tmp_path / "many").mkdir()
    image = corpus.drawn(*corpus.FOUR, side=112)
    for number in range(1500):
        image.save(tmp_path / "many" / f"{number:04}.png")
    line = [sys.executable, "-m", "lenet_lightning", "predict", "many", "--output", "out.jsonl"]
    line += ["--weights", str(weights.SHIPPED)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + 60
        while not (Path("out.jsonl").exists() and Path("out.jsonl").stat().st_size > 1000):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started.send_signal(signal.SIGKILL)
    before = Path("out.jsonl").read_bytes()
    assert read(capfd, "many", "--output", "out.jsonl")[0] == 0
    rows = [json.loads(each) for each in Path("out.jsonl").read_text().splitlines()]
    assert [row["picture"] for row in rows] == [f"many/{number:04}.png" for number in range(1500)]
    assert Path("out.jsonl").read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert {row["digit"] for row in rows} == {4}


def test_blank_ground_beside_a_digit_of_two_columns_is_framed():
    # OpenCV takes two columns of numbers for points
    paper = np.full((100, 100), 255, np.uint8)
    paper[10:90, 48:52] = 0
    digit = framing.find(np.asarray(Image.fromarray(paper)), "auto").digit
    assert digit is not None
    assert framing.is_framed(digit)
