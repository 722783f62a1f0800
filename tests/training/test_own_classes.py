"""A user's own network, classifier and data module with the same command line."""

import pytest
import yaml
from torch import nn

from lenet_lightning import DigitClassifier
from lenet_lightning.training import cli
from tests.training.test_cli import the_runs


class Layers(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images):
        return self.layers(images)


class Own(DigitClassifier):
    """Two linear layers.

    Args:
        width: units between them.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__(Layers(width))


@pytest.mark.filterwarnings("ignore")  # what cli.main hides stays hidden
def test_the_command_line_takes_a_classifier_of_ones_own(fake_mnist, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"width": 48}, "averaging": 0.9}))
    common = ("--config=own.yaml", f"--data.root={fake_mnist}", "--data.val_size=1000")
    cli.main(["fit", *common, "--trainer.max_epochs=2", "--trainer.limit_train_batches=20"], Own)
    fitted = capfd.readouterr().out.splitlines()
    assert "Layers, 38,170 parameters" in fitted[0]
    (run,) = the_runs()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"] == {"width": 48}
    pictures = {path.stem for path in (run / "pictures").iterdir()}
    assert "confusion_matrix" in pictures
    assert not pictures & {"filters", "feature_maps"}  # it has none
    cli.main(["test", *common], Own)
    (tested,) = capfd.readouterr().out.splitlines()
    assert tested in fitted
