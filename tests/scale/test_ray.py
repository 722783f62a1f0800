"""Ray on two machines, each a real one of its own with one worker here, reads as Recognizer alone does."""

import csv
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lenet_lightning import Recognizer
from lenet_lightning.errors import RunError
from tests.faults.conftest import ROOT
from tests.faults.test_processes import end_session
from tests.inference.corpus import FOUR, ONE, SEVEN, drawn
from tests.ports import free_ports

PICTURES = 1000
LIMIT_S = 60
RAY = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1")
MEMORY = f"--object-store-memory={100 * 2**20}"


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures, of which some are blank and one is damaged."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        strokes = ([SEVEN], FOUR, [ONE], [])[rng.choice(4, p=[0.4, 0.3, 0.25, 0.05])]
        image = drawn(*strokes, side=64, width=rng.uniform(0.05, 0.12)).rotate(rng.uniform(-25, 25), fillcolor="white")
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
        image.save(folder / f"{number:04}.png")
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (64, 64), "white").save(folder / "blank.png")
    return folder


def alone(picture, recognizer):
    """What one process without Ray has in the place of a row."""
    try:
        answer = recognizer(str(picture))
    except RunError as error:
        return "", "", "", str(error)
    probability = "" if answer.probabilities is None else str(float(answer.probabilities.max()))
    return "" if answer.digit is None else str(answer.digit), probability, answer.notice or "", ""


def processes_of(folder):
    """The command lines of what Ray started, which name its folder of temporary files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended
    return [line for line in found if str(folder) in line and "ray" in line]


@pytest.fixture
def cluster(tmp_path, tmp_path_factory):
    """Two machines' Ray with a processor each; the environment that leads to it."""
    temporary = tmp_path_factory.mktemp("ray")
    (port,) = free_ports(1)
    paths = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = os.environ | paths | token | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    first = (*RAY, MEMORY, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temporary}")
    begun = []
    try:
        for command in (first, (*RAY, MEMORY, f"--address=127.0.0.1:{port}")):
            with (tmp_path / f"ray-{len(begun)}").open("w+") as log:
                options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
                begun.append(subprocess.Popen(command, env=environment, cwd=tmp_path, **options))
                end = time.monotonic() + LIMIT_S
                while "will now block" not in (said := Path(log.name).read_text()):
                    assert begun[-1].poll() is None and time.monotonic() < end, said
                    time.sleep(0.2)
        assert processes_of(temporary)
        yield environment
    finally:
        for each in reversed(begun):
            end_session(each.pid)
            each.wait()
    end = time.monotonic() + LIMIT_S  # Ray's processes end when the one that started them has
    while (left := processes_of(temporary)) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == []


@pytest.mark.scale
@pytest.mark.timeout(300)
def test_two_workers_of_ray_read_as_one_process_does(cluster, pictures, tmp_path):
    command = [sys.executable, ROOT / "docs" / "scale" / "ray_predict.py", pictures, tmp_path / "answers.csv", "2"]
    done = subprocess.run(command, env=cluster, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert re.search(r"Actors: 2", done.stderr + done.stdout)

    read = {Path(row["picture"]): row for row in csv.DictReader((tmp_path / "answers.csv").read_text().splitlines())}
    assert read.keys() == set(pictures.iterdir())
    recognizer = Recognizer()
    for picture, row in read.items():
        assert tuple(row.values())[1:] == alone(picture, recognizer), picture
    assert {row["digit"] for row in read.values()} >= {"1", "4", "7", ""}
    assert "damaged.png" in read[pictures / "damaged.png"]["error"]
