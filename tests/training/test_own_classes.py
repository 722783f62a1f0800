"""A user's own network, classifier and data module with the same command line."""

import subprocess
import sys

import yaml

OWN = """
import sys

from torch import nn

from lenet_lightning import DigitClassifier
from lenet_lightning.training import cli


class Layers(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images):
        return self.layers(images)


class Own(DigitClassifier):
    \"\"\"Two linear layers.

    Args:
        width: units between them.
    \"\"\"

    def __init__(self, width: int = 32) -> None:
        super().__init__(Layers(width))


cli.main(sys.argv[1:], Own)
"""


def test_the_command_line_takes_a_classifier_of_ones_own(on_fakes, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    short = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=20", "--data.val_size=1000", "--config=own.yaml")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"width": 48}, "averaging": 0.9}))

    def run(*args):
        command = [sys.executable, "own.py", *args]
        done = subprocess.run(
            command, cwd=tmp_path, env=on_fakes | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        print(done.stdout, done.stderr)
        return done

    fit = run("fit", *short)
    assert (fit.returncode, fit.stderr) == (0, "")
    assert "Layers, 38,170 parameters" in fit.stdout
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"] == {"width": 48}
    pictures = {path.stem for path in (folder / "pictures").iterdir()}
    assert "confusion_matrix" in pictures
    assert not pictures & {"filters", "feature_maps"}  # it has none
    tested = run("test", "--config=own.yaml")
    assert tested.returncode == 0
    (line,) = tested.stdout.splitlines()
    assert line in fit.stdout.splitlines()
