"""What is installed and what is loaded: nothing known to be bad, nothing that could run code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PINNED = dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))

# the first release without a known hole that a picture, a checkpoint or a model could use, or a release not made by
# its authors (lightning 2.6.2 and 2.6.3)
LEAST = {
    "lightning": (2, 6, 6),
    "torch": (2, 10, 0),
    "pillow": (12, 1, 1),
    "onnx": (1, 21, 0),
    "safetensors": (0, 5, 0),
}


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@pytest.mark.parametrize("name", LEAST)
def test_the_lock_pins_no_release_known_to_be_bad(name):
    assert numbers(PINNED[name]) >= LEAST[name]


def test_everything_in_the_lock_is_held_to_its_bytes_wherever_it_comes_from():
    for requirement in re.split(r"\n(?=[a-z0-9])", LOCK.strip()):
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]
    assert "://" not in LOCK


def calls(name):
    """Every call of a function of that name in the repository's Python files: (file and line, its keywords)."""
    for path in [*ROOT.glob("lenet_lightning/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield f"{path.name}:{node.lineno}", {word.arg: ast.unparse(word.value) for word in node.keywords}


def test_every_checkpoint_is_loaded_as_weights_only():
    found = dict(calls("torch.load"))
    assert found
    assert [place for place, keywords in found.items() if keywords.get("weights_only") != "True"] == []


@pytest.mark.parametrize("name", ["pickle.load", "pickle.loads", "eval", "yaml.load", "os.system"])
def test_nothing_is_read_by_what_could_run_it(name):
    assert [place for place, _ in calls(name) if not place.startswith("test_")] == []
