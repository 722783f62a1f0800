"""What README tells people to type works."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lenet_lightning.__main__ import _run, main
from lenet_lightning.errors import UsageError
from tests.benchmarks import tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    python -m lenet_lightning (fit --config .*?)(?:   #.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        main([*shlex.split(line), "--print_config"])
    assert end.value.code == 0
    assert "max_epochs" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # Lightning's own, which a notebook would show too
def test_python_example_runs(fake_mnist, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(from pathlib.*?)```", README, re.DOTALL)
    (tmp_path / "data").symlink_to(fake_mnist)
    monkeypatch.chdir(tmp_path)
    assert "Trainer(max_epochs=1)" in example
    exec(example.replace("max_epochs=1", "max_epochs=1, limit_train_batches=5"), {})
    assert (tmp_path / "lenet5.safetensors").exists()


def test_own_digits_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(from lenet_lightning import Recognizer.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    picture = Image.new("L", (300, 300), "white")
    ImageDraw.Draw(picture).line([(80, 60), (220, 60), (130, 250)], "black", 24, joint="curve")
    picture.save("seven.png")
    exec(example, {})
    assert capsys.readouterr().out.startswith("7 ")


def test_light_commands_are_understood(tmp_path, monkeypatch):
    lines = re.findall(
        r"^    python -m lenet_lightning ((?:predict|export|demo).*?)(?:   +#.*)?$", README, re.MULTILINE
    )
    assert len(lines) >= 7
    monkeypatch.chdir(tmp_path)
    for line in lines:
        with pytest.raises(UsageError, match="none"):
            _run(
                [
                    *shlex.split(line.replace("seven.jpg", ".").replace("photos", ".").replace("letter.png", ".")),
                    "--weights",
                    "none.pth",
                ]
            )


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda document: document.name)
def test_tables_are_what_the_benchmarks_kept(document):
    text = document.read_text()
    assert "<!-- table" in text
    assert tables.written(text) == text  # else: python -m tests.benchmarks.tables


def test_make_targets_exist():
    named = set(re.findall(r"`?make ([a-z-]+)", README)) - {"help"}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets
