"""What README tells people to type works."""

import re
import shlex
from pathlib import Path

import pytest

from lenet_lightning.__main__ import main

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
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "data").symlink_to(fake_mnist)
    monkeypatch.chdir(tmp_path)
    assert "Trainer(max_epochs=1)" in example
    exec(example.replace("max_epochs=1", "max_epochs=1, limit_train_batches=5"), {})
    assert (tmp_path / "lenet5.safetensors").exists()


def test_make_targets_exist():
    named = set(re.findall(r"`?make ([a-z-]+)", README)) - {"help"}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets
