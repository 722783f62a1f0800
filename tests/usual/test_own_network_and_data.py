"""A network by its import path, and another data set by name and sums, on this project's command line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lenet_lightning.__main__ import main
from lenet_lightning.data import files
from tests.training.conftest import command, quick  # noqa: F401
from tests.training.test_cli import TESTED, the_runs

pytestmark = pytest.mark.usual

OWN = (
    "--model.network=tests.training.test_own_classes.Layers",
    "--model.network.width=48",
    "--model.schedule=constant",
    "--data.distortion.end=1",
)


def test_a_network_by_its_import_path(command, quick):  # noqa: F811
    code, out, err = command("fit", *quick, *OWN, TESTED, "--trainer.max_epochs=1")
    assert (code, err) == (0, "")
    assert out.startswith("Layers, 38,170 parameters")
    (run,) = the_runs()
    passed = ("--config", run / "config.yaml")
    assert command("test", *passed)[1].splitlines()[-1] in out
    code, out, _ = command("fit", *passed, "--ckpt_path=last", "--trainer.max_epochs=2")
    assert (code, "epoch 2/2" in out) == (0, True)


@pytest.mark.parametrize("command_line", [("test",), ("validate",), ("fit", "--ckpt_path=last")])
def test_a_checkpoint_names_no_code(command, quick, command_line):  # noqa: F811
    command("fit", *quick, *OWN, "--trainer.max_epochs=1")
    code, _, err = command(*command_line)
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"--config {the_runs()[0]}/config.yaml" in err


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("none.Net", "No module named 'none'"),
        ("tests.training.test_own_classes.Net", "has no attribute 'Net'"),
        ("lenet6", "must be one of lenet5, lenet5_1998, lenet1, lenet5_swept, dot import path string, got lenet6"),
    ],
)
def test_a_network_that_is_not_there_is_refused(command, network, said):  # noqa: F811
    code, _, err = command("fit", f"--model.network={network}")
    assert (code, len(err.splitlines())) == (2, 1)
    assert said in err
    assert the_runs() == []


def test_another_data_set(command, quick, fake_mnist, tmp_path, capfd):  # noqa: F811
    raw = tmp_path / "own" / "Inverse" / "raw"
    raw.mkdir(parents=True)
    sums = []
    for file in files.FILES:
        content = np.fromfile(fake_mnist / "MNIST" / "raw" / file.name, np.uint8)
        content[16:] = 255 - content[16:] if "images" in file.name else content[16:]
        content.tofile(raw / file.name)
        sums.append(hashlib.sha256(content).hexdigest())
    own = {"name": "Inverse", "sums": sums, "mean": 0.8, "std": 0.25}
    Path("inverse.yaml").write_text(yaml.safe_dump({"data": own}))
    code = main(
        ["fit", "--config=inverse.yaml", f"--data.root={tmp_path / 'own'}", *quick, TESTED, "--trainer.max_epochs=1"]
    )
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    (run,) = the_runs()
    results = json.loads((run / "results.json").read_text())
    assert results["data_sha256"] == {file.name: own for file, own in zip(files.FILES, sums, strict=True)}
    assert main(["test"]) == 0
    assert capfd.readouterr().out.strip() in out
    code, _, err = command("fit", "--data.name=Inverse")
    assert (code, "data.name and data.sums must be given together" in err) == (2, True)
