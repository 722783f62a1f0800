"""The tutorial's notebook in a fresh kernel, and a fit in one. Run by `make test-notebook`."""

import io
import json
import os
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from lenet_lightning import MNISTDataModule

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {language: ROOT / "docs" / f"tutorial{language}.ipynb" for language in ("", ".zh-CN")}


def cells(language, kind):
    notebook = json.loads(NOTEBOOKS[language].read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def printed(outputs):
    return "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")


def pictures(outputs):
    return [each["data"]["image/png"] for each in outputs if "image/png" in each.get("data", {})]


def test_both_languages_have_the_same_code():
    english, chinese = ([source(cell) for cell in cells(language, "code")] for language in NOTEBOOKS)
    assert english == chinese
    texts = [[source(cell) for cell in cells(language, "markdown")] for language in NOTEBOOKS]
    assert len(texts[0]) == len(texts[1])
    headings = [[re.match(r"#* ?[\d.]*", text)[0] for text in language] for language in texts]
    assert headings[0] == headings[1]
    for english, chinese in zip(*texts, strict=True):
        assert re.findall(r"`[^`]+`", english) == re.findall(r"`[^`]+`", chinese)


@pytest.mark.parametrize("language", NOTEBOOKS)
def test_what_is_shipped_was_executed_in_order_without_a_warning_and_is_small(language):
    assert NOTEBOOKS[language].stat().st_size < 1_000_000
    assert [cell["execution_count"] for cell in cells(language, "code")] == [
        *range(1, len(cells(language, "code")) + 1)
    ]
    for cell in cells(language, "code"):
        assert all(each["output_type"] != "error" and each.get("name") != "stderr" for each in cell["outputs"])
    assert sum(len(pictures(cell["outputs"])) for cell in cells(language, "code")) >= 9


def executed(notebook, folder, timeout=400):
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def in_kernel(fake_mnist_root, tmp_path, monkeypatch):
    """Run cells in a kernel of their own, with the fakes in place of MNIST; return the outputs of each."""
    nbformat = pytest.importorskip("nbformat")
    from tests.training.conftest import SITECUSTOMIZE

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE.format(root=str(fake_mnist_root)))
    (tmp_path / "data").symlink_to(fake_mnist_root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(ROOT)]))

    def run(*sources):
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in sources])
        return executed(made, tmp_path, 100)

    return run


IMPORTS = """
from lightning import Trainer
from lenet_lightning import DigitClassifier, MNISTDataModule, Recognizer, plots, weights
quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
data = MNISTDataModule()
"""

STOPPED = """
import os, signal, threading, time
def press():
    global pressed
    while trainer.global_step < 10:
        time.sleep(0.01)
    pressed = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)
model = DigitClassifier()
before = model.network.linear3.weight.detach().clone()
trainer = Trainer(max_epochs=100, **quiet)
threading.Thread(target=press, daemon=True).start()
trainer.fit(model, data)
same = bool((model.network.linear3.weight == before).all())
print(f"ended {time.perf_counter() - pressed:.2f} s later, changed: {not same}")
"""


@pytest.mark.notebook
@pytest.mark.timeout(300)
def test_a_plain_fit_in_a_kernel_is_short_and_can_be_stopped(in_kernel):
    short = "Trainer(max_epochs=15, limit_train_batches=5, **quiet).fit(DigitClassifier(), data)"
    _, fit, stopped, again = in_kernel(IMPORTS, short, STOPPED, short)
    assert printed(fit).count("train loss") == 15
    assert sum(len(json.dumps(each)) for each in fit) <= 3_000
    assert "SystemExit" not in json.dumps(stopped)
    lines = printed(stopped).splitlines()
    assert sum(line.startswith("stopped after step ") for line in lines) == 1
    seconds, changed = re.match(r"ended ([\d.]+) s later, changed: (\w+)", lines[-1]).groups()
    assert float(seconds) < 2
    assert changed == "True"
    assert printed(again).count("train loss") == 15


COMMAND = """
import sys, time
start = time.perf_counter()
!{sys.executable} -m lenet_lightning fit --trainer.max_epochs 2 --trainer.accelerator cpu --pictures false
seconds, code = time.perf_counter() - start, _exit_code
"""


@pytest.mark.notebook
@pytest.mark.timeout(300)
def test_a_command_in_a_cell_draws_its_bar_at_most_once_a_second(in_kernel, monkeypatch):
    """A notebook keeps each state of it."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fit, told = in_kernel(COMMAND, "print(code, seconds)")
    code, seconds = printed(told).split()
    assert int(code) == 0
    assert len(re.findall(r"epoch +\d+/2 +train loss", printed(fit))) == 2
    assert 1 <= printed(fit).count(" steps ") <= float(seconds) + 1


GROWTH = """
import gc, resource, sys
def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
grown = []
for _ in range(10):
    Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, enable_progress_bar=False, **quiet).fit(
        DigitClassifier(), MNISTDataModule())
    grown.append(held())
print(min(grown[5:]) - min(grown[:5]))
"""


@pytest.mark.notebook
@pytest.mark.timeout(300)
def test_ten_fits_do_not_grow_a_kernel(in_kernel):
    """The least of five says what stays: malloc keeps up to 40 MB of one fit or another until the next."""
    _, grown = in_kernel(IMPORTS, GROWTH)
    assert float(printed(grown).split()[-1]) < 20  # MB; 41 each before


@pytest.mark.notebook
def test_an_answer_and_a_plot_are_shown_as_pictures(in_kernel):
    import base64

    _, answer, blank, plot = in_kernel(
        IMPORTS,
        "import numpy as np\nseven = np.full((100, 100), 255, np.uint8)\nseven[20:28, 30:70] = 0\n"
        "for row in range(20, 80): seven[row, 62 - row // 4 : 70 - row // 4] = 0\n"
        "Recognizer(weights.SHIPPED)(seven)",
        "Recognizer(weights.SHIPPED)(np.full((100, 100), 255, np.uint8))",
        "plots.filters(DigitClassifier().network)",
    )
    for outputs, least in ((answer, 150), (blank, 20), (plot, 100)):
        (picture,) = pictures(outputs)
        with Image.open(io.BytesIO(base64.b64decode(picture)), formats=["PNG"]) as shown:
            assert shown.height >= least
            assert len(shown.convert("L").getcolors()) > 3


BOUNDS = {
    r"test accuracy ([\d.]+)%, loss": (90, 99),  # the tutorial's recipe after three epochs
    r"test accuracy ([\d.]+)%\n": (98.75, 99.4),  # configs/fast.yaml
    r"all +([\d,]+) parameters": (61_706, 61_706),
    r"untrained +probability of \d: [\d.]+   loss ([\d.]+)": (2.0, 2.6),
    r"\ntrained +probability of \d: [\d.]+   loss ([\d.]+)": (0, 0.1),
}


@pytest.mark.notebook
@pytest.mark.timeout(600)
def test_the_notebook_runs_from_top_to_bottom_with_the_figures_it_states(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    (tmp_path / "docs").mkdir()
    MNISTDataModule(str(ROOT / "data")).prepare_data()  # where it has to be fetched, that is told on stderr
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOKS[""], 4)
    started = time.perf_counter()
    outputs = executed(notebook, tmp_path / "docs")
    assert time.perf_counter() - started < 180
    assert all(each.output_type != "error" and each.get("name") != "stderr" for cell in outputs for each in cell)
    text = "\n".join(printed(cell) for cell in outputs)
    for pattern, (low, high) in BOUNDS.items():
        found = re.search(pattern, text)
        assert found, pattern
        assert low <= float(found[1].replace(",", "")) <= high, pattern
    assert "same outputs: True" in text
    assert "digit=7" in json.dumps(outputs)
